#!lua
-- Stores deliveries as jobs, or says of each that the same body is here already; the second of two equal ones in one
-- call is such a duplicate too.
-- Without the flag allow-oom: a server that is full refuses new work, so that it drains.
-- KEYS: 1 queue, 2 wake-up, 3 dead letters, then for each delivery: payload of the job, marker of the settled delivery,
--       dead letter
-- ARGV: for each delivery: job id, delivery id, payload
-- Answers 'stored' or 'duplicate' for each delivery, in order.
--@include jobs
local now_ms = time_ms()
local answers, due, superseded, dead = {}, {}, {}, {}
for first = 1, #ARGV, 3 do
  local job_id, delivery, payload = ARGV[first], ARGV[first + 1], ARGV[first + 2]
  local job_key, settled, dead_letter = KEYS[first + 3], KEYS[first + 4], KEYS[first + 5]
  if redis.call('EXISTS', settled) == 0 and redis.call('SET', job_key, payload, 'NX') then
    table.insert(due, now_ms)
    table.insert(due, job_id)
    table.insert(dead, dead_letter)
    table.insert(superseded, delivery)
    table.insert(answers, 'stored')
  else
    table.insert(answers, 'duplicate')
  end
end
if #due > 0 then
  redis.call('ZADD', KEYS[1], unpack(due))
  redis.call('DEL', unpack(dead))
  redis.call('ZREM', KEYS[3], unpack(superseded))
  wake_up(KEYS[2])
end
return answers
