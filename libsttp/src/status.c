#include <sttp/status.h>

const char *sttp_status_text(sttp_status status)
{
    switch (status) {
    case STTP_OK:
        return "no error";
    case STTP_NEED_MORE:
        return "more bytes are needed";
    case STTP_END:
        return "the client ends the session";
    case STTP_ERR_MEMORY:
        return "out of memory";
    case STTP_ERR_BUFFER:
        return "the buffer is too small";
    case STTP_ERR_ARGUMENT:
        return "an argument is out of its range";
    case STTP_ERR_PIPELINE_FULL:
        return "too many requests are outstanding: receive an answer first";
    case STTP_ERR_NOTHING_SENT:
        return "no request is outstanding";
    case STTP_ERR_HTTP:
        return "the first line is an HTTP request";
    case STTP_ERR_LINE_TOO_LONG:
        return "the request line is longer than 4,096 bytes";
    case STTP_ERR_UNFINISHED_LINE:
        return "the input ended within a line";
    case STTP_ERR_CONTROL_CHARACTER:
        return "a control character where none is allowed";
    case STTP_ERR_UTF8:
        return "bytes that are not valid UTF-8";
    case STTP_ERR_ACTION:
        return "the action is not CREATE, SHOW, LIST, UPDATE or DELETE";
    case STTP_ERR_TARGET_MISSING:
        return "the path is missing";
    case STTP_ERR_TARGET_URL:
        return "a URL was sent to a server that is no proxy";
    case STTP_ERR_PATH_RELATIVE:
        return "the path does not begin with a slash";
    case STTP_ERR_PATH_EMPTY_SEGMENT:
        return "the path has two slashes in a row";
    case STTP_ERR_PATH_DOT_SEGMENT:
        return "the path has a . or .. segment";
    case STTP_ERR_PATH_RESERVED:
        return "the path has a name that begins with .sttp-, which is reserved";
    case STTP_ERR_PATH_FORBIDDEN:
        return "the path has a space or a question mark";
    case STTP_ERR_PATH_FINAL_SLASH:
        return "the path of a file ends with a slash";
    case STTP_ERR_FILENAME_TOO_LONG:
        return "the filename is longer than 32 characters";
    case STTP_ERR_PATH_TOO_LONG:
        return "the path is longer than 1,024 bytes";
    case STTP_ERR_DIRECTORY_TOO_LONG:
        return "a directory name is longer than 255 bytes";
    case STTP_ERR_QUERY_ACTION:
        return "only LIST takes a query";
    case STTP_ERR_QUERY_KEY:
        return "the query has an unknown key, or a part that is not key=value";
    case STTP_ERR_QUERY_TWICE:
        return "the query has a key twice";
    case STTP_ERR_QUERY_VALUE:
        return "the query has a value that its key does not take";
    case STTP_ERR_QUERY_ESCAPE:
        return "the query has a bad escape or a character that is not allowed";
    case STTP_ERR_CONTENTS_MISSING:
        return "the contents are missing";
    case STTP_ERR_CONTENTS_TOO_LONG:
        return "the contents are longer than 160 characters";
    case STTP_ERR_CONTENTS_UNEXPECTED:
        return "SHOW, LIST and DELETE take no contents";
    case STTP_ERR_RESPONSE_CODE:
        return "the response does not begin with one of the nine codes";
    case STTP_ERR_RESPONSE_ECHO:
        return "the response has no path, or one with a forbidden character";
    case STTP_ERR_RESPONSE_PHRASE:
        return "the response has another phrase than its code";
    case STTP_ERR_RESPONSE_MESSAGE:
        return "the response has a missing, surplus or malformed message";
    case STTP_ERR_STATUS_LINE_TOO_LONG:
        return "the status line is longer than 8,192 bytes";
    case STTP_ERR_CONTENTS_LINE_TOO_LONG:
        return "the contents line is longer than the limit";
    case STTP_ERR_URL_SCHEME:
        return "the URL does not begin with sttp://, sttps:// or sttp+unix:";
    case STTP_ERR_URL_USER:
        return "the URL has user information before an @, which STTP does not know: leave it out";
    case STTP_ERR_URL_HOST:
        return "the URL has no valid host";
    case STTP_ERR_URL_IPV6:
        return "the URL has no valid IPv6 address between its brackets";
    case STTP_ERR_URL_ZONE:
        return "the URL has no valid zone behind %25";
    case STTP_ERR_URL_PORT:
        return "the port of the URL is not a number from 1 to 65535";
    case STTP_ERR_URL_PATH:
        return "the URL has no path, or one where none may be";
    case STTP_ERR_URL_FRAGMENT:
        return "the URL has a fragment: leave it out, or write # as %23";
    case STTP_ERR_URL_ESCAPE:
        return "the URL has a % without two hex digits: write % as %25";
    case STTP_ERR_URL_CHARACTER:
        return "the path of the URL has a character that cannot stand in a request";
    case STTP_ERR_URL_SOCKET:
        return "the socket path of the URL is relative, empty or too long";
    case STTP_ERR_RESOLVE:
        return "the name has no address";
    case STTP_ERR_CONNECT:
        return "no address accepted the connection";
    case STTP_ERR_TIMEOUT:
        return "the deadline passed";
    case STTP_ERR_CONNECTION_LOST:
        return "the connection was lost before the answer was whole";
    case STTP_ERR_EMPTY_ANSWER:
        return "the peer closed the connection without an answer";
    case STTP_ERR_BAD_ANSWER:
        return "the answer is no STTP response";
    case STTP_ERR_WRONG_ANSWER:
        return "the answer speaks of something else than was asked";
    case STTP_ERR_UNASKED_ANSWER:
        return "an answer came that no request asked for";
    case STTP_ERR_OUTCOME_UNKNOWN:
        return "outcome unknown: the change was sent and its answer was lost";
    case STTP_ERR_SYSTEM:
        return "a system call failed";
    case STTP_ERR_TRANSPORT:
        return "the transport failed";
    case STTP_ERR_CANCELLED:
        return "given up: the pool was destroyed";
    case STTP_ERR_DENIED:
        return "no address of the destination is permitted";
    case STTP_ERR_ADDRESS:
        return "not an address that can be used";
    case STTP_ERR_ADDRESS_IN_USE:
        return "the address is in use";
    case STTP_ERR_STATE:
        return "the call does not fit the state of the object";
    case STTP_ERR_BUSY:
        return "too many bytes of answers wait for the workers";
    }
    return "unknown status";
}

const char *sttp_status_name(sttp_status status)
{
    switch (status) {
    case STTP_OK:
        return "STTP_OK";
    case STTP_NEED_MORE:
        return "STTP_NEED_MORE";
    case STTP_END:
        return "STTP_END";
    case STTP_ERR_MEMORY:
        return "STTP_ERR_MEMORY";
    case STTP_ERR_BUFFER:
        return "STTP_ERR_BUFFER";
    case STTP_ERR_ARGUMENT:
        return "STTP_ERR_ARGUMENT";
    case STTP_ERR_PIPELINE_FULL:
        return "STTP_ERR_PIPELINE_FULL";
    case STTP_ERR_NOTHING_SENT:
        return "STTP_ERR_NOTHING_SENT";
    case STTP_ERR_HTTP:
        return "STTP_ERR_HTTP";
    case STTP_ERR_LINE_TOO_LONG:
        return "STTP_ERR_LINE_TOO_LONG";
    case STTP_ERR_UNFINISHED_LINE:
        return "STTP_ERR_UNFINISHED_LINE";
    case STTP_ERR_CONTROL_CHARACTER:
        return "STTP_ERR_CONTROL_CHARACTER";
    case STTP_ERR_UTF8:
        return "STTP_ERR_UTF8";
    case STTP_ERR_ACTION:
        return "STTP_ERR_ACTION";
    case STTP_ERR_TARGET_MISSING:
        return "STTP_ERR_TARGET_MISSING";
    case STTP_ERR_TARGET_URL:
        return "STTP_ERR_TARGET_URL";
    case STTP_ERR_PATH_RELATIVE:
        return "STTP_ERR_PATH_RELATIVE";
    case STTP_ERR_PATH_EMPTY_SEGMENT:
        return "STTP_ERR_PATH_EMPTY_SEGMENT";
    case STTP_ERR_PATH_DOT_SEGMENT:
        return "STTP_ERR_PATH_DOT_SEGMENT";
    case STTP_ERR_PATH_RESERVED:
        return "STTP_ERR_PATH_RESERVED";
    case STTP_ERR_PATH_FORBIDDEN:
        return "STTP_ERR_PATH_FORBIDDEN";
    case STTP_ERR_PATH_FINAL_SLASH:
        return "STTP_ERR_PATH_FINAL_SLASH";
    case STTP_ERR_FILENAME_TOO_LONG:
        return "STTP_ERR_FILENAME_TOO_LONG";
    case STTP_ERR_PATH_TOO_LONG:
        return "STTP_ERR_PATH_TOO_LONG";
    case STTP_ERR_DIRECTORY_TOO_LONG:
        return "STTP_ERR_DIRECTORY_TOO_LONG";
    case STTP_ERR_QUERY_ACTION:
        return "STTP_ERR_QUERY_ACTION";
    case STTP_ERR_QUERY_KEY:
        return "STTP_ERR_QUERY_KEY";
    case STTP_ERR_QUERY_TWICE:
        return "STTP_ERR_QUERY_TWICE";
    case STTP_ERR_QUERY_VALUE:
        return "STTP_ERR_QUERY_VALUE";
    case STTP_ERR_QUERY_ESCAPE:
        return "STTP_ERR_QUERY_ESCAPE";
    case STTP_ERR_CONTENTS_MISSING:
        return "STTP_ERR_CONTENTS_MISSING";
    case STTP_ERR_CONTENTS_TOO_LONG:
        return "STTP_ERR_CONTENTS_TOO_LONG";
    case STTP_ERR_CONTENTS_UNEXPECTED:
        return "STTP_ERR_CONTENTS_UNEXPECTED";
    case STTP_ERR_RESPONSE_CODE:
        return "STTP_ERR_RESPONSE_CODE";
    case STTP_ERR_RESPONSE_ECHO:
        return "STTP_ERR_RESPONSE_ECHO";
    case STTP_ERR_RESPONSE_PHRASE:
        return "STTP_ERR_RESPONSE_PHRASE";
    case STTP_ERR_RESPONSE_MESSAGE:
        return "STTP_ERR_RESPONSE_MESSAGE";
    case STTP_ERR_STATUS_LINE_TOO_LONG:
        return "STTP_ERR_STATUS_LINE_TOO_LONG";
    case STTP_ERR_CONTENTS_LINE_TOO_LONG:
        return "STTP_ERR_CONTENTS_LINE_TOO_LONG";
    case STTP_ERR_URL_SCHEME:
        return "STTP_ERR_URL_SCHEME";
    case STTP_ERR_URL_USER:
        return "STTP_ERR_URL_USER";
    case STTP_ERR_URL_HOST:
        return "STTP_ERR_URL_HOST";
    case STTP_ERR_URL_IPV6:
        return "STTP_ERR_URL_IPV6";
    case STTP_ERR_URL_ZONE:
        return "STTP_ERR_URL_ZONE";
    case STTP_ERR_URL_PORT:
        return "STTP_ERR_URL_PORT";
    case STTP_ERR_URL_PATH:
        return "STTP_ERR_URL_PATH";
    case STTP_ERR_URL_FRAGMENT:
        return "STTP_ERR_URL_FRAGMENT";
    case STTP_ERR_URL_ESCAPE:
        return "STTP_ERR_URL_ESCAPE";
    case STTP_ERR_URL_CHARACTER:
        return "STTP_ERR_URL_CHARACTER";
    case STTP_ERR_URL_SOCKET:
        return "STTP_ERR_URL_SOCKET";
    case STTP_ERR_RESOLVE:
        return "STTP_ERR_RESOLVE";
    case STTP_ERR_CONNECT:
        return "STTP_ERR_CONNECT";
    case STTP_ERR_TIMEOUT:
        return "STTP_ERR_TIMEOUT";
    case STTP_ERR_CONNECTION_LOST:
        return "STTP_ERR_CONNECTION_LOST";
    case STTP_ERR_EMPTY_ANSWER:
        return "STTP_ERR_EMPTY_ANSWER";
    case STTP_ERR_BAD_ANSWER:
        return "STTP_ERR_BAD_ANSWER";
    case STTP_ERR_WRONG_ANSWER:
        return "STTP_ERR_WRONG_ANSWER";
    case STTP_ERR_UNASKED_ANSWER:
        return "STTP_ERR_UNASKED_ANSWER";
    case STTP_ERR_OUTCOME_UNKNOWN:
        return "STTP_ERR_OUTCOME_UNKNOWN";
    case STTP_ERR_SYSTEM:
        return "STTP_ERR_SYSTEM";
    case STTP_ERR_TRANSPORT:
        return "STTP_ERR_TRANSPORT";
    case STTP_ERR_CANCELLED:
        return "STTP_ERR_CANCELLED";
    case STTP_ERR_DENIED:
        return "STTP_ERR_DENIED";
    case STTP_ERR_ADDRESS:
        return "STTP_ERR_ADDRESS";
    case STTP_ERR_ADDRESS_IN_USE:
        return "STTP_ERR_ADDRESS_IN_USE";
    case STTP_ERR_STATE:
        return "STTP_ERR_STATE";
    case STTP_ERR_BUSY:
        return "STTP_ERR_BUSY";
    }
    return "unknown status";
}
