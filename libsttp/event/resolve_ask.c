#include <string.h>

#include "resolve_private.h"

#define SECOND UINT64_C(1000000)

enum { MOST_ASKING = 1024, MOST_DOUBLINGS = 5 };

static const uint64_t HOSTS_TIME = 5 * SECOND; /* of what the hosts file says */
static const uint64_t FAILURE_TIME = SECOND;   /* of what there is not */
static const uint64_t BACK_OFF = SECOND;       /* doubles with each failure */
static const uint64_t STALE_PATIENCE = SECOND / 2;
static const uint64_t RESOLUTION_DELAY = 50 * UINT64_C(1000); /* RFC 8305, section 3 */

static uint64_t now_of(const sttp__name *name)
{
    return sttp__async_now(name->resolver->async);
}

/* Tells, and sets the time to ask again. */
static void announce(sttp__name *name)
{
    sttp__name_publish(name);
    if (name->count == 0)
        name->due = now_of(name) + FAILURE_TIME;
    sttp__timer_set(&name->timer, TAILQ_EMPTY(&name->lookups) ? STTP__NEVER : name->due);
}

/* ---- the hosts file ---- */

static void take_hosts(sttp__family *family, const sttp__inet_address *found, size_t count)
{
    sttp__inet_address own[STTP__FAMILY_MAX];
    size_t own_count = 0;

    for (size_t i = 0; i < count && own_count < STTP__FAMILY_MAX; i++) {
        if (found[i].any.sa_family == family->type)
            own[own_count++] = found[i];
    }
    sttp__family_drop(family);
    family->give_up = 0;
    family->outcome = own_count > 0 ? STTP__FOUND : STTP__NONE;
    if (own_count > 0 && !sttp__family_take(family, own, own_count))
        family->outcome = STTP__NO_MEMORY;
}

/* Whether DNS need not be asked: the file has the name; or it has not, as before, and what DNS has
 * said is still good. */
static bool ask_hosts(sttp__name *name)
{
    const sttp__resolver *resolver = name->resolver;
    sttp__inet_address found[STTP__ADDRESSES_MAX];
    bool was_there = name->from_hosts;
    size_t count;

    if (name->hosts_version != resolver->hosts_version) {
        name->hosts_version = resolver->hosts_version;
        count = sttp__hosts_find(resolver->hosts_file, name->host, name->family, found,
                                 STTP__ADDRESSES_MAX);
        name->from_hosts = count > 0;
        for (size_t i = 0; i < STTP__FAMILIES && count > 0; i++)
            take_hosts(&name->families[i], found, count);
    }
    if (name->from_hosts)
        name->due = now_of(name) + HOSTS_TIME;
    return name->from_hosts || (!was_there && now_of(name) < name->due);
}

/* ---- DNS ---- */

/* All that could come has come. What nobody could tell stays what it was, for a while. */
static void conclude(sttp__name *name)
{
    uint64_t now = now_of(name);
    bool failed = false;

    name->asking = false;
    name->resolver->asking_count--;
    name->due = STTP__NEVER;
    for (size_t i = 0; i < STTP__FAMILIES; i++) {
        sttp__family *family = &name->families[i];

        if (family->outcome == STTP__FOUND) {
            if (family->due < name->due)
                name->due = family->due;
        } else {
            failed = failed || family->outcome != STTP__NONE;
            if (family->outcome == STTP__NONE || now >= family->give_up)
                sttp__family_drop(family);
        }
    }
    if (failed && name->due > now + (BACK_OFF << name->failures))
        name->due = now + (BACK_OFF << name->failures);
    name->failures = failed ? name->failures + (name->failures < MOST_DOUBLINGS) : 0;
    announce(name);
}

static void refuse(sttp__name *name)
{
    for (size_t i = 0; i < STTP__FAMILIES; i++) {
        if (sttp__name_wants(name, &name->families[i])) {
            name->families[i].outcome = STTP__FAILED;
            name->families[i].reason = "too many names are being looked up";
        }
    }
    conclude(name);
}

void sttp__name_ask(sttp__name *name, uint64_t tell_at)
{
    sttp__resolver *resolver = name->resolver;

    sttp__resolver_look(resolver);
    if (ask_hosts(name)) {
        announce(name);
        return;
    }
    if (name->count == 0)
        name->status = STTP_NEED_MORE;
    name->asking = true;
    name->tell_at = tell_at;
    name->candidate = 0;
    sttp__timer_set(&name->timer, tell_at > now_of(name) ? tell_at : STTP__NEVER);
    if (resolver->asking_count++ < MOST_ASKING)
        sttp__query(name);
    else
        refuse(name);
}

/* What it had long ago is forgotten; where it is of use yet it is told if nothing newer comes soon.
 */
void sttp__name_revive(sttp__name *name)
{
    uint64_t now = now_of(name);
    bool useful = name->count > 0;

    for (size_t i = 0; i < STTP__FAMILIES; i++) {
        if (name->families[i].count > 0 && now >= name->families[i].give_up)
            useful = false;
    }
    if (!useful && !name->from_hosts)
        sttp__name_forget(name);
    sttp__name_ask(name, useful ? now + STALE_PATIENCE : STTP__NEVER);
}

void sttp__name_answered(sttp__name *name)
{
    if (name->settling)
        return;
    name->settling = true;
    TAILQ_INSERT_TAIL(&name->resolver->settled, name, in_settled);
}

/* The other family's answer is waited for no more than a moment. */
static void tell_soon(sttp__name *name)
{
    uint64_t at = now_of(name) + RESOLUTION_DELAY;

    if (at >= name->tell_at)
        return;
    name->tell_at = at;
    if (!TAILQ_EMPTY(&name->lookups))
        sttp__timer_set(&name->timer, at);
}

static bool any(const sttp__name *name, sttp__outcome outcome)
{
    return name->families[0].outcome == outcome || name->families[1].outcome == outcome;
}

static void settle(sttp__name *name)
{
    if (any(name, STTP__ASKED)) {
        if (any(name, STTP__FOUND))
            tell_soon(name);
    } else if (any(name, STTP__LOST)) {
        name->candidate = 0;
        sttp__query(name);
    } else if (any(name, STTP__FOUND) || any(name, STTP__FAILED) || any(name, STTP__NO_MEMORY) ||
               !sttp__query(name)) {
        conclude(name);
    }
}

void sttp__names_settle(sttp__resolver *resolver)
{
    sttp__name *name;

    while ((name = TAILQ_FIRST(&resolver->settled))) {
        TAILQ_REMOVE(&resolver->settled, name, in_settled);
        name->settling = false;
        settle(name);
    }
}

void sttp__name_expired(sttp__timer *timer)
{
    sttp__name *name = (sttp__name *)((char *)timer - offsetof(sttp__name, timer));
    sttp__resolver *resolver = name->resolver;

    if (name->asking)
        sttp__name_publish(name);
    else
        sttp__name_ask(name, now_of(name));
    sttp__names_settle(resolver);
}
