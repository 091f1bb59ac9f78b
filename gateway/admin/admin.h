// The admin dialect: teams, keys, usage, requests, models and the pool's state, as JSON over HTTP.
//
// Every route needs `Authorization: Bearer` with a key whose role allows it (teams/roles.h is the table;
// GET /v1/seat lists it); other keys get 403. What lies outside a role's reach, another team's key or usage,
// is 404 as if it were not there. Bodies and answers are JSON objects; times are Unix seconds (0: never, not
// yet), tokens are integers, `chip_ms` is milliseconds of measured chip time. Errors look like OpenAI's:
// {"error":{"message","type","param","code"}}.
//
// POST   /admin/v1/teams                 {"name"} → 201 Team; 409 if the name is taken
// GET    /admin/v1/teams                 → {"data":[Team]}, without those that were removed
// GET    /admin/v1/teams/{name}          → Team, also one that was removed
// POST   /admin/v1/teams/{name}          {"external": whether its text may go to engines outside the
// organisation} → Team
//                                        {"name": its new name} → Team; its keys and usage records stay with
//                                        it
// DELETE /admin/v1/teams/{name}          → Team. Its keys are revoked and its running requests end; its usage
//                                        records stay, and so its name stays taken
//          Team: {"id":1,"name":"search","created":1700000000,"external":false,"removed":0}
//
// POST   /admin/v1/keys                  {"team"?,"name"?,"role"?,"models"?:["m"],"expires"?:seconds} → 201
// Created
//          role: "developer" (default), "team_lead"; of no team: "finance", "operator". A team lead makes
//          keys of the own team, of the first two roles, and of no more models than the own key has
// GET    /admin/v1/keys?team=NAME        → {"data":[Key]}
// POST   /admin/v1/keys/{key}/rotate     {"overlap"?: seconds the old secret still works, 0} → 200 Created,
// with
//          "old":{"id","prefix","expires"}. The new key keeps the old one's identity: what was used stays its
//          usage
// DELETE /admin/v1/keys/{key}            → 200 {"id","revoked":true}; the logins made from it end, too
//          {key}: its id, or its secret's prefix
//          Key: {"id":3,"team":"search","name":"ci","prefix":"sk-penstock-ab12","role":"developer",
//                "models":[],"created":…,"expires":0,"revoked":0,"parent":the key that it renews or logs in
//                for, or 0,"login":true for what POST /v1/logins made}
//          Created: Key with "secret":"sk-penstock-…", shown this once
//
// GET    /admin/v1/usage?team=&model=&key=&since=&until=&by_key=1&by=hour|day&utc_offset=
//          → {"since","until","data":[{"team","model","key","requests","input_tokens",
//             "cached_input_tokens","output_tokens","chip_ms",          ("key" only with by_key)
//             "reported_tokens","exact_usage":"yes"|"partly"}]}         (fleet/registry/guarantees.h)
//          reported_tokens: of the output, those of answers in which an engine had a part that counts as its
//          upstream does; exact_usage is "yes" where there are none
//          With `by`, a row for each hour or day in which something was used, up to 1,000 of them; each has
//          its "since" and "until", cut to the time asked for. They begin by a clock `utc_offset` seconds
//          east of UTC
// GET    /admin/v1/requests/{id}         → Request (the same as GET /v1/requests/{id}, for any team)
//          Request: {"id","object":"request","team","key","model","state":"running"|"ended",
//            "outcome":""|"stop"|"length"|"cancelled"|"error"|"gateway_restarted","detail",
//            "usage":{"prompt_tokens","completion_tokens","total_tokens",
//                     "prompt_tokens_details":{"cached_tokens"}},
//              usage is what is billed: all of it is 0 until the client has accepted output
//            "prompt_size":tokens of the prompt, billed or not,
//            "reported_tokens","exact_usage",                                   (as in usage)
//            "emitted_tokens","computed_tokens","chip_ms","opened","ended",     (opened, ended: fractional)
//            "trail":[{"at":fractional seconds,"kind","why"}]}
//
// GET    /admin/v1/status                → {"version","pid","uptime_s","ready":true,"reason":"",
//            "draining":false,"store":{"healthy":true,"fault":""},
//            "disk":{"path","bytes","free_bytes"},"log":Log,
//            "warnings":[{"at","level","text"}],       (the gateway's last five, newest last)
//            "tokens","tokens_per_second",             (emitted since start; over the last few seconds)
//            "open_streams","connections","waiting","running",
//            "engines":[Engine],
//            "queue":[{"team","waiting","running","virtual_ms","chip_ms","tokens"}],
//            "models":[Model]}
// GET    /admin/v1/engines               → {"data":[Engine]}
//          Engine: {"name","runner","chip","kernel","place","note","pid","connected",
//            "state":"up"|"draining"|"proving"|"recovering"|"quarantined"|"down","why",
//            (fleet/registry/health.h) "may_run",                      (sequences at once, as it is trusted
//            now) "guarantees":{"reclaim":"yes"|"partly"|"no",…},   (fleet/registry/guarantees.h)
//            "contract","external","draining","memory_bytes",
//            "resident_bytes","sent","running","waiting","free_pages","cached_pages",
//            "preemptions","restored_tokens","prefix_hit_tokens","computed_tokens",
//            "models":[{"name","state":"loading"|"ready"|"failed"|"unloaded","error",
//                       "context","pages","page_bytes","weight_bytes","kernel"}],
//            "profiles":[{"model","step_us","prefill_token_us","decode_token_us","position_ns","drift","steps"}]}
//                                            (how long its steps take, learnt from them:
//                                            fleet/placement/profile.h)
// POST   /admin/v1/engines/{name}/drain    → {"data":[Engine]}; it finishes what it has and gets nothing new
// POST   /admin/v1/engines/{name}/resume   → {"data":[Engine]}
// POST   /admin/v1/engines/{name}/restart  → {"data":[Engine]}; it drains, ends, and is started again
// GET    /admin/v1/log                   → Log
// POST   /admin/v1/log                   {"level","component"?:"gateway"|"engine"|"all","for_seconds"?} → Log
//          level: "error", "warning", "info", "debug", "trace"; after for_seconds it returns by itself
//          Log: {"gateway":{"level":"info","for_seconds":0},"engine":{…}}    (for_seconds: what is left)
// POST   /admin/v1/settings              {"name","value"} → the same; changes the running gateway. Limits,
// timeouts and
//                                        log.level; 400 for a setting that takes effect at the next start
//                                        only
// GET    /admin/v1/models                → {"data":[Model]}
//          Model: {"name","path","created","context","kv_bytes","served":true,"ready":true,"error",
//            "guarantees":{…}}                (what every engine that has it keeps; empty: none has it)
// POST   /admin/v1/models/rescan         → {"added":["m"],"removed":["m"],"data":[Model]}
// POST   /admin/v1/models/{name}/load    → 200 Model (served; `ready` once an engine has it)
// POST   /admin/v1/models/{name}/unload  → 200 Model (stays installed; requests to it get 503)
//
// Beside these, GET /v1/requests/{id} and GET /v1/usage?… are the same as under /admin: what a key sees there
// is what its role reaches. And any key may ask who it is:
//
// GET    /v1/seat                        → {"object":"seat","role","team":"" where there is none,
//            "key":{"id","name","prefix","expires","login"},"models":[its scope; empty:
//            all],"may":["usage.read",…]}
// POST   /v1/logins                      {"name"?} → 201 Created: one more secret for the caller's key,
// which is
//            listed and revoked as keys are, and ends with that key. From a login itself: 403
#pragma once
