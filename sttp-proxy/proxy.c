#include "sttp-proxy/proxy.h"

#include <stdlib.h>
#include <string.h>

#include <sttp/server.h>

#include "sttp-proxy/failure.h"

/* ---- upstreams ---- */

/* The settings were checked: what they say can be read. */
static bool init_upstream(struct proxy *proxy, struct group *group, struct upstream *upstream,
                          const struct upstream_options *from, const struct route_options *route)
{
    health_options health = {
        .checked = route->health_interval > 0,
        .rise = (unsigned)route->health_rise,
        .fall = (unsigned)route->health_fall,
        .slow_start = route->slow_start,
    };

    *upstream = (struct upstream){
        .name = from->address,
        .group = group,
        .index = proxy->upstream_count++,
        .weight = (uint32_t)from->weight,
        .backup = from->backup,
        .sends_hops = from->send_proxy == SEND_PROXY_V2,
        .health = health_create(&health),
    };
    (void)destination_parse(from->address, &upstream->destination);
    return upstream->health != NULL;
}

static bool init_parent(struct proxy *proxy, const struct proxy_options *from)
{
    if (from->forward_parent == NULL)
        return true;
    proxy->parent = calloc(1, sizeof *proxy->parent);
    if (proxy->parent == NULL)
        return false;
    proxy->parent->name = from->forward_parent;
    proxy->parent->index = proxy->upstream_count++;
    proxy->parent->sends_hops = from->forward_send_proxy == SEND_PROXY_V2;
    (void)destination_parse_parent(from->forward_parent, &proxy->parent->destination);
    return true;
}

/* ---- groups ---- */

static bool create_ring(struct group *group)
{
    balance_place *places = calloc(group->count, sizeof *places);

    if (places == NULL)
        return false;
    for (size_t i = 0; i < group->count; i++)
        places[i] =
            (balance_place){.address = {group->upstreams[i].name, strlen(group->upstreams[i].name)},
                            .weight = group->upstreams[i].weight};
    group->ring = balance_ring_create(places, group->count);
    free(places);
    return group->ring != NULL;
}

static bool init_group(struct proxy *proxy, struct group *group, const struct route_options *from)
{
    const struct upstream_options *upstreams = from->upstreams.items;

    *group = (struct group){
        .prefix = from->prefix,
        .balance = (balance_kind)from->balance,
        .check_interval = from->health_interval,
        .check_timeout = from->health_timeout,
    };
    group->budget = budget_create();
    group->upstreams = calloc(from->upstreams.count, sizeof *group->upstreams);
    if (group->upstreams == NULL || group->budget == NULL)
        return false;
    for (size_t i = 0; i < from->upstreams.count; i++) {
        group->count++;
        if (!init_upstream(proxy, group, &group->upstreams[i], &upstreams[i], from))
            return false;
    }
    if (proxy->largest_group < group->count)
        proxy->largest_group = group->count;
    return group->balance != BALANCE_HASH || create_ring(group);
}

static bool init_groups(struct proxy *proxy, const struct proxy_options *from)
{
    const struct route_options *routes = from->reverse.items;
    size_t count = from->reverse.count;
    sttp_slice *prefixes = calloc(count + 1, sizeof *prefixes);

    proxy->groups = calloc(count + 1, sizeof *proxy->groups);
    if (proxy->groups == NULL || prefixes == NULL) {
        free(prefixes);
        return false;
    }
    bool is_good = true;
    for (size_t i = 0; i < count && is_good; i++) {
        prefixes[i] = (sttp_slice){routes[i].prefix, strlen(routes[i].prefix)};
        proxy->group_count++;
        is_good = init_group(proxy, &proxy->groups[i], &routes[i]);
    }
    if (is_good)
        proxy->routes = route_table_create(prefixes, count);
    free(prefixes);
    return proxy->routes != NULL;
}

static bool init_guard(struct proxy *proxy, const struct proxy_options *from)
{
    if (!from->forward_enabled)
        return true;
    proxy->guard = guard_create(from->forward_allow.items, from->forward_allow.count,
                                from->forward_clients.items, from->forward_clients.count);
    return proxy->guard != NULL;
}

static bool init_faults(struct proxy *proxy, const struct proxy_options *from)
{
    if (from->faults.count == 0)
        return true;
    log_write(proxy->log, LOG_LEVEL_WARNING, "answers go wrong on purpose: see `faults`");
    proxy->faults = fault_rules_create(from->faults.items, from->faults.count);
    return proxy->faults != NULL;
}

/* ---- life ---- */

bool proxy_init(struct proxy *proxy, const struct proxy_options *options, log_sink *log)
{
    *proxy = (struct proxy){.options = options, .log = log, .forwarded = budget_create()};
    return proxy->forwarded != NULL && init_groups(proxy, options) && init_parent(proxy, options) &&
           init_guard(proxy, options) && init_faults(proxy, options);
}

static void release_group(struct group *group)
{
    for (size_t i = 0; i < group->count; i++)
        health_destroy(group->upstreams[i].health);
    free(group->upstreams);
    balance_ring_destroy(group->ring);
    budget_destroy(group->budget);
}

void proxy_release(struct proxy *proxy)
{
    for (size_t i = 0; i < proxy->group_count; i++)
        release_group(&proxy->groups[i]);
    free(proxy->groups);
    route_table_destroy(proxy->routes);
    guard_destroy(proxy->guard);
    budget_destroy(proxy->forwarded);
    fault_rules_destroy(proxy->faults);
    free(proxy->parent);
}

/* ---- repeats ---- */

/* Hosts and the parent have no health that tells when one goes down: so what was in flight on a
 * connection is granted no more often than grants end. */
size_t proxy_repeat_forwarded(void *context, size_t count)
{
    struct proxy *proxy = context;
    uint64_t now = sttp_server_now();
    unsigned long long next = atomic_load(&proxy->next_grant);
    size_t taken = 0;

    if (now >= next &&
        atomic_compare_exchange_strong(&proxy->next_grant, &next, now + BUDGET_GRANT_LASTS))
        budget_grant(proxy->forwarded, count, now);
    while (taken < count && budget_take(proxy->forwarded, now))
        taken++;
    for (size_t i = 0; i < count; i++)
        proxy_count(proxy, i < taken ? COUNT_RETRIES : COUNT_NO_BUDGET);
    return taken;
}

/* ---- the log ---- */

void proxy_log_health(struct proxy *proxy, struct upstream *upstream, health_change change)
{
    health_view view = health_look(upstream->health);

    if (change == HEALTH_CAME_UP)
        log_write(proxy->log, LOG_LEVEL_INFO, "upstream %s for %s is up", upstream->name,
                  upstream->group->prefix);
    else
        log_write(proxy->log, LOG_LEVEL_WARNING, "upstream %s for %s is down: %s (%s, %u in a row)",
                  upstream->name, upstream->group->prefix, health_result_text(view.cause),
                  view.by_check ? "checks" : "requests", view.in_a_row);
}

void proxy_log_counts(struct proxy *proxy)
{
    for (enum proxy_count count = 0; count < PROXY_COUNTS; count++) {
        unsigned long long value = atomic_load(&proxy->counts[count]);
        if (value > 0)
            log_write(proxy->log, LOG_LEVEL_INFO, "%llu %s since the start", value,
                      failure_name(count));
    }
}
