#!lua
-- Puts a dead letter back on the queue as it came, or drops it.
-- KEYS: 1 queue, 2 payload of the job, 3 dead letters, 4 dead letter
-- ARGV: 1 job id, 2 delivery id, 3 replay or discard
local payload = redis.call('HGET', KEYS[4], 'payload')
redis.call('ZREM', KEYS[3], ARGV[2])
if not payload then
  return 'gone'
end
redis.call('DEL', KEYS[4])
if ARGV[3] == 'replay' then
  local time = redis.call('TIME')
  redis.call('SET', KEYS[2], payload)
  redis.call('ZADD', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])
end
return ARGV[3]
