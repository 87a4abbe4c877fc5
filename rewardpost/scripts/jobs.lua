-- Shared by the scripts that end, defer or enqueue a job; the keys of a job are {queue, payload, in-progress, retry}.
local function time_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function end_job(keys, job_id)
  redis.call('ZREM', keys[1], job_id)
  redis.call('DEL', keys[2], keys[3], keys[4])
end

-- Gives a running job back to the queue for a later time; `untry` takes back the try that arq has counted.
-- One that has ended meanwhile leaves nothing behind.
local function defer_job(keys, job_id, due_ms, untry)
  if redis.call('EXISTS', keys[2]) == 1 then
    redis.call('ZADD', keys[1], due_ms, job_id)
    if untry == 1 and redis.call('EXISTS', keys[4]) == 1 then
      redis.call('DECR', keys[4])
    end
    redis.call('DEL', keys[3])
  else
    end_job(keys, job_id)
  end
end

-- Enqueues a job, or moves the one that waits to the new time; a running one stays marked as running.
local function enqueue_job(keys, job_id, payload, due_ms)
  redis.call('SET', keys[2], payload)
  redis.call('ZADD', keys[1], due_ms, job_id)
end
