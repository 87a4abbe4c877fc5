#!lua
-- Enqueues any job in one step, unless one of its id waits, runs or has a result.
-- KEYS: 1 queue, 2 payload, 3 in-progress, 4 retry, 5 result, 6 wake-up list
-- ARGV: 1 job id, 2 payload, 3 due time in ms (0: now), 4 life of the payload in ms (0: until the job ends)
--@include jobs
if redis.call('EXISTS', KEYS[2], KEYS[3], KEYS[5]) > 0 then
  return 0
end
local due_ms = tonumber(ARGV[3])
enqueue_job({KEYS[1], KEYS[2], KEYS[3], KEYS[4]}, ARGV[1], ARGV[2], due_ms > 0 and due_ms or time_ms())
if tonumber(ARGV[4]) > 0 then
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
wake_up(KEYS[6])
return 1
