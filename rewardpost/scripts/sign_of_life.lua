#!lua flags=allow-oom
-- Notes that a worker lives, and forgets those that have not said so for a while.
-- KEYS: 1 workers
-- ARGV: 1 worker, 2 how long one may be silent, in s
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
return now
