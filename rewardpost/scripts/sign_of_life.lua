#!lua flags=allow-oom
-- Notes that a worker lives, and forgets those that have not said so for a while. Also keeps since when some worker has
-- lived without a gap: a ledger that was put back from a backup has one.
-- KEYS: 1 workers, 2 watch
-- ARGV: 1 worker, 2 how long one may be silent, in s, 3 how long all may be silent before that is a gap, in s
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
local seen = tonumber(redis.call('HGET', KEYS[2], 'seen') or '0')
if now - seen > tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[2], 'since', now, 'gap_from', seen)
end
redis.call('HSET', KEYS[2], 'seen', now)
return now
