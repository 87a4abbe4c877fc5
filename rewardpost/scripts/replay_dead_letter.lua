#!lua
-- Puts a dead letter back on the queue as it came, or drops it.
-- KEYS: 1 queue, 2 payload of the job, 3 dead letters, 4 dead letter, 5 in-progress, 6 retry, 7 wake-up list
-- ARGV: 1 job id, 2 delivery id, 3 replay or discard
--@include jobs
local payload = redis.call('HGET', KEYS[4], 'payload')
redis.call('ZREM', KEYS[3], ARGV[2])
if not payload then
  return 'gone'
end
redis.call('DEL', KEYS[4])
if ARGV[3] == 'replay' then
  enqueue_job({KEYS[1], KEYS[2], KEYS[5], KEYS[6]}, ARGV[1], payload, AGAIN + time_ms())
  wake_up(KEYS[7])
end
return ARGV[3]
