#!lua flags=allow-oom
-- Notes the moment of installation at the first start, and answers it: a worker that starts at a full server, to drain
-- it, needs it too.
-- KEYS: 1 moment of installation
-- ARGV: 1 now
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
