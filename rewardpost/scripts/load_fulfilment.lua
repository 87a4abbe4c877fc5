#!lua flags=no-writes
-- Reads all that one decision about a reward needs, at one moment.
-- KEYS: 1 record, 2 bucket of done-markers, 3 holds, 4 moment of installation, 5 personal data, 6 watch
-- ARGV: 1 reference
local time = redis.call('TIME')
local record = redis.call('HGET', KEYS[1], 'record')
local done = redis.call('HGET', KEYS[2], ARGV[1])
local holds = redis.call('HGETALL', KEYS[3])
return {
  time[1] * 1000000 + time[2], record, done, holds, redis.call('GET', KEYS[4]), redis.call('GET', KEYS[5]),
  redis.call('HGET', KEYS[6], 'since')
}
