"""A naive reference of the protocol, with its store in memory: docs/protocol.md, sections 1 to 4.

    Reference().session(b"CREATE /a x\\nSHOW /a\\n")  ->  b"100 /a CREATED\\n200 /a OK\\nx\\n"

Messages are written as {msg}, and the answer to an HTTP request as HTTP_ANSWER: their words are
the server's own, and same() compares with that in mind. The code follows the text of the
specification, rule by rule, with no thought of speed.
"""

import re

MESSAGE = b'"{msg}"'
ANY_MESSAGE = re.compile(rb'"[^"\x00-\x1f\x7f]+"')
HTTP_ANSWER = b"HTTP/1.1 400 Bad Request"

MAX_LINE = 4096
MAX_PATH = 1024
MAX_DIRECTORY_NAME = 255
MAX_FILENAME = 32
MAX_CONTENTS = 160
MAX_CONTENTS_LINE = 16 << 20

ACTIONS = (b"CREATE", b"SHOW", b"LIST", b"DELETE", b"UPDATE")
PHRASES = {100: "CREATED", 200: "OK", 300: "CLIENT ERROR", 310: "FILENAME TOO LONG",
           400: "NOT FOUND", 410: "PATH NOT FOUND", 500: "SERVER ERROR",
           510: "CANNOT CREATE PATH", 600: "DELETED"}


class Refused(Exception):
    """The request ends here, with this code."""

    def __init__(self, code):
        super().__init__(code)
        self.code = code


def response(code, echo, contents=None):
    line = b"%d %s %s" % (code, echo, PHRASES[code].encode())
    if code in (300, 500):
        line += b" " + MESSAGE
    if code == 200:
        line += b"\n" + contents
    return line + b"\n"


def same(got, expected):
    """Whether a server's bytes are those that are expected, whatever its messages say."""
    if expected.endswith(HTTP_ANSWER):
        return got.startswith(HTTP_ANSWER + b"\r\n")
    first, *others = expected.split(MESSAGE)
    if not got.startswith(first):
        return False
    at = len(first)
    for part in others:
        message = ANY_MESSAGE.match(got, at)
        if not message or not got.startswith(part, message.end()):
            return False
        at = message.end() + len(part)
    return at == len(got)


# -- section 2, encoding


def decode(data):
    """The text of `data`, or None where it is not valid UTF-8."""
    try:
        return data.decode("utf-8", "strict")
    except UnicodeDecodeError:
        return None


def has_control(text):
    return any(ord(c) < 0x20 or 0x7f <= ord(c) <= 0x9f for c in text)


def check_encoding(line):
    text = decode(line)
    if text is None:
        raise Refused(300)
    head = text
    if text.count(" ") >= 2:
        action, target, contents = text.split(" ", 2)
        head = action + target + contents.replace("\t", "")
    if has_control(head):
        raise Refused(300)


# -- section 3, echo


def echo_of(line):
    if b" " not in line:
        return b"-"
    path = line.split(b" ")[1].split(b"?")[0]
    text = decode(path)
    if not path or text is None or has_control(text):
        return b"-"
    return path


def parent_of(path):
    """The parent directory of a target, with its final slash."""
    without_slash = path[:-1] if path.endswith(b"/") else path
    return without_slash[:without_slash.rindex(b"/") + 1]


# -- section 2, path


def segments_of(path):
    inner = path.strip(b"/")
    return inner.split(b"/") if inner else []


def check_path_form(action, path):
    if not path.startswith(b"/"):
        raise Refused(300)
    if b"//" in path:
        raise Refused(300)
    for segment in segments_of(path):
        if segment in (b".", b"..") or segment.startswith(b".sttp-"):
            raise Refused(300)
    if action in (b"CREATE", b"SHOW", b"UPDATE") and path.endswith(b"/"):
        raise Refused(300)


def check_filename(action, path):
    if action == b"LIST" or path.endswith(b"/"):
        return
    if len(segments_of(path)[-1].decode()) > MAX_FILENAME:
        raise Refused(310)


def check_path_lengths(action, path):
    if len(path) > MAX_PATH:
        raise Refused(300)
    segments = segments_of(path)
    last_is_directory = action == b"LIST" or path.endswith(b"/")
    directories = segments if last_is_directory else segments[:-1]
    if any(len(name) > MAX_DIRECTORY_NAME for name in directories):
        raise Refused(300)


# -- section 4.1, query


def decode_value(value):
    decoded = bytearray()
    i = 0
    while i < len(value):
        if value[i] == ord("%"):
            digits = value[i + 1:i + 3]
            if len(digits) != 2 or any(d not in b"0123456789abcdefABCDEF" for d in digits):
                raise Refused(300)
            decoded.append(int(digits, 16))
            i += 3
        else:
            decoded.append(value[i])
            i += 1
    text = decode(bytes(decoded))
    if text is None or has_control(text):
        raise Refused(300)
    return text


def parse_limit(text):
    digits = text.isascii() and text.isdigit() and not text.startswith("0")
    if not digits or int(text) > 10000:
        raise Refused(300)
    return int(text)


def parse_choice(*choices):
    def parse(text):
        if text not in choices:
            raise Refused(300)
        return text
    return parse


def parse_text(text):
    return text


def parse_not_empty(text):
    if not text:
        raise Refused(300)
    return text


KEYS = {b"q": parse_text, b"name": parse_not_empty, b"after": parse_not_empty,
        b"limit": parse_limit, b"recursive": parse_choice("0", "1"),
        b"type": parse_choice("file", "dir", "all")}


def parse_query(action, query):
    """The parameters by their keys; `query` is None where there is no question mark."""
    if query is None:
        return {}
    if action != b"LIST":
        raise Refused(300)
    parameters = {}
    for part in query.split(b"&"):
        key, equals, value = part.partition(b"=")
        if not equals or key not in KEYS or key in parameters:
            raise Refused(300)
        parameters[key] = KEYS[key](decode_value(value))
    return parameters


def fold(text):
    """A to Z as a to z, every other character as itself."""
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in text)


def matches(pattern, name):
    """By the lengths of all beginnings of the name that the pattern, as far as it is read, fits."""
    lengths = {0}
    for sign in pattern:
        if sign == "*":
            lengths = {more for length in lengths for more in range(length, len(name) + 1)}
        else:
            lengths = {length + 1 for length in lengths
                       if length < len(name) and sign in ("?", name[length])}
    return len(name) in lengths


# -- section 2, contents


def check_contents(action, contents):
    """The text that the request carries; `contents` is None where no space follows the target."""
    if action in (b"SHOW", b"LIST", b"DELETE"):
        if contents is not None and contents.strip(b" "):
            raise Refused(300)
        return None
    if not contents:
        raise Refused(300)
    if len(contents) >= 2 and contents.startswith(b'"') and contents.endswith(b'"'):
        contents = contents[1:-1]
    if len(contents.decode()) > MAX_CONTENTS:
        raise Refused(300)
    return contents


# -- section 4, the store: directories are dicts, files are bytes


class Store:
    def __init__(self):
        self.root = {}

    def find(self, path):
        """What stands under the path: a dict, bytes, or None. 410 where its parent directory is
        not there."""
        node = self.root
        segments = segments_of(path)
        for segment in segments[:-1]:
            node = node.get(segment)
            if not isinstance(node, dict):
                raise Refused(410)
        return node.get(segments[-1]) if segments else self.root

    def directory(self, path):
        node = self.root
        for segment in segments_of(path):
            node = node[segment]
        return node

    def create(self, path, text):
        segments = segments_of(path)
        node = self.root
        for segment in segments[:-1]:
            node = node.get(segment, {})
            if not isinstance(node, dict):
                raise Refused(510)
        if segments[-1] in node:
            raise Refused(300)
        node = self.root
        for segment in segments[:-1]:
            node = node.setdefault(segment, {})
        node[segments[-1]] = text
        return 100, None

    def show(self, path):
        node = self.find(path)
        if node is None:
            raise Refused(400)
        if isinstance(node, dict):
            raise Refused(300)
        return 200, node

    def update(self, path, text):
        self.show(path)
        self.directory(parent_of(path))[segments_of(path)[-1]] = text
        return 200, text

    def delete(self, path):
        if path == b"/":
            raise Refused(300)
        node = self.find(path)
        if node is None:
            raise Refused(400)
        if path.endswith(b"/"):
            if not isinstance(node, dict) or node:
                raise Refused(300)
        elif isinstance(node, dict):
            raise Refused(300)
        del self.directory(parent_of(path))[segments_of(path)[-1]]
        return 600, None

    def list(self, path, parameters):
        node = self.find(path)
        if node is None:
            raise Refused(400)
        if not isinstance(node, dict):
            raise Refused(300)
        names = []
        self.collect(node, b"", parameters, names)
        names.sort()
        if b"after" in parameters:
            names = [name for name in names if name > parameters[b"after"].encode()]
        names = names[:parameters.get(b"limit", len(names))]
        contents = b", ".join(names)
        if len(contents) + 1 > MAX_CONTENTS_LINE:
            raise Refused(300)
        return 200, contents

    def collect(self, directory, prefix, parameters, names):
        for name, node in directory.items():
            if self.selected(name, node, parameters):
                names.append(prefix + name + (b"/" if isinstance(node, dict) else b""))
            if isinstance(node, dict) and parameters.get(b"recursive") == "1":
                self.collect(node, prefix + name + b"/", parameters, names)

    @staticmethod
    def selected(name, node, parameters):
        is_directory = isinstance(node, dict)
        kind = parameters.get(b"type", "file" if b"q" in parameters else "all")
        if kind == ("file" if is_directory else "dir"):
            return False
        if b"name" in parameters and not matches(parameters[b"name"], name.decode()):
            return False
        if b"q" in parameters:
            if is_directory:
                return False
            return fold(parameters[b"q"]) in fold(node.decode())
        return True


class Reference:
    """A server whose store lives as long as the object."""

    def __init__(self):
        self.store = Store()

    def session(self, data):
        """The bytes of all answers to a client that sends `data` and then half-closes."""
        answers = []
        first = True
        while data:
            end = data.find(b"\n")
            size = end + 1 if end >= 0 else len(data)
            if size > MAX_LINE or end < 0:
                answers.append(response(300, b"-"))
                break
            line, data = data[:end], data[size:]
            line = line[:-1] if line.endswith(b"\r") else line
            if not line:
                break
            if first and self.is_http(line):
                answers.append(HTTP_ANSWER)
                break
            first = False
            answers.append(self.answer(line))
        return b"".join(answers)

    @staticmethod
    def is_http(line):
        digits = b"0123456789"
        return (line[-9:-3] == b" HTTP/" and line[-3] in digits and line[-2:-1] == b"."
                and line[-1] in digits and line.split(b" ")[0] not in (b"CREATE", b"UPDATE"))

    def answer(self, line):
        echo = echo_of(line)
        try:
            code, contents = self.perform(line)
        except Refused as refused:
            code, contents = refused.code, None
        if code in (410, 510):
            echo = parent_of(echo)
        return response(code, echo, contents)

    def perform(self, line):
        check_encoding(line)
        action, _, rest = line.partition(b" ")
        target, space, contents = rest.partition(b" ")
        path, question_mark, query = target.partition(b"?")
        if action not in ACTIONS:
            raise Refused(300)
        check_path_form(action, path)
        check_filename(action, path)
        check_path_lengths(action, path)
        parameters = parse_query(action, query if question_mark else None)
        text = check_contents(action, contents if space else None)
        if action == b"CREATE":
            return self.store.create(path, text)
        if action == b"SHOW":
            return self.store.show(path)
        if action == b"UPDATE":
            return self.store.update(path, text)
        if action == b"DELETE":
            return self.store.delete(path)
        return self.store.list(path, parameters)
