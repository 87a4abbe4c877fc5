#!lua flags=allow-oom
-- Ends the job of a delivery that needs nothing, or moves it to the dead letters, in the one step that takes it off
-- the queue.
-- KEYS: 1-4 the job: queue, payload, in-progress, retry, 5 marker of the settled delivery, 6 counts of events,
--       7 dead letters, 8 dead letter
-- ARGV: 1 job id, 2 delivery id, 3 memory in ms, 4 event type (empty: a dead letter), 5 life of a dead letter in ms,
--       6 code, 7 reason, 8 token under which the job is held
--@include jobs
local job_keys = {KEYS[1], KEYS[2], KEYS[3], KEYS[4]}
if not is_held(KEYS[3], ARGV[8]) then
  return 'lost'
end
if ARGV[4] ~= '' then
  end_job(job_keys, ARGV[1])
  redis.call('SET', KEYS[5], '1', 'PX', ARGV[3])
  redis.call('HINCRBY', KEYS[6], ARGV[4], 1)
  return 'settled'
end
local payload = redis.call('GET', KEYS[2])
if not payload then
  end_job(job_keys, ARGV[1])
  return 'gone'
end
local now_ms = time_ms()
end_job(job_keys, ARGV[1])
redis.call('HSET', KEYS[8], 'payload', payload, 'job', ARGV[1], 'code', ARGV[6], 'why', ARGV[7], 'at', now_ms)
redis.call('PEXPIRE', KEYS[8], ARGV[5])
redis.call('ZADD', KEYS[7], now_ms, ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[7], '-inf', now_ms - ARGV[5])
return 'dead'
