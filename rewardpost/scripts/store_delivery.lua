#!lua
-- Stores one delivery as a job, or says that the same body is here already.
-- Without the flag allow-oom: a server that is full refuses new work, so that it drains.
-- KEYS: 1 queue, 2 payload of the job, 3 marker of the settled delivery, 4 dead letters, 5 dead letter
-- ARGV: 1 job id, 2 delivery id, 3 payload
if redis.call('EXISTS', KEYS[2], KEYS[3]) > 0 then
  return 'duplicate'
end
local time = redis.call('TIME')
redis.call('SET', KEYS[2], ARGV[3])
redis.call('ZADD', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])
redis.call('DEL', KEYS[5])
redis.call('ZREM', KEYS[4], ARGV[2])
return 'stored'
