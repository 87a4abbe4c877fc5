#!lua
-- Gives rewards the job back that they lack, behind what is new. Left alone is a reward whose record has changed since
-- it was looked at, and one whose job waits or runs.
-- KEYS: 1 queue, 2 wake-up list, then for each reward: record, payload, in-progress, retry
-- ARGV: for each reward: job id, revision that was looked at, payload, due time in ms
-- Answers how many were given back.
--@include jobs
local now_ms = time_ms()
local restored = 0
for first = 1, #ARGV, 4 do
  local job_id, revision, payload, due_ms = ARGV[first], ARGV[first + 1], ARGV[first + 2], tonumber(ARGV[first + 3])
  local record, in_progress = KEYS[first + 2], KEYS[first + 4]
  if redis.call('HGET', record, 'revision') == revision and not redis.call('ZSCORE', KEYS[1], job_id)
    and redis.call('EXISTS', in_progress) == 0 then
    local job_keys = {KEYS[1], KEYS[first + 3], in_progress, KEYS[first + 5]}
    enqueue_job(job_keys, job_id, payload, AGAIN + math.max(due_ms, now_ms))
    restored = restored + 1
  end
end
if restored > 0 then
  wake_up(KEYS[2])
end
return restored
