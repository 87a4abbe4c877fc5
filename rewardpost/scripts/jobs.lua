-- Shared by the scripts that claim, end, defer or enqueue a job; the keys of a job are {queue, payload, in-progress,
-- retry}.

-- Jobs that come again (a retry, a replay) wait in the same sorted set, this far above the time at which they are due:
-- a lane of their own, so that a storm of them holds up nothing new. A hundred years in ms; `rewardpost.queue` has it too.
local AGAIN = 3155760000000

-- Jobs in hand lie as far below the time at which their lease ends: what a dead worker leaves behind has waited for a
-- whole lease, and comes before all that is new, however much that is.
local IN_HAND = -AGAIN

local function time_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- One element is enough for any number of jobs: whoever claims and leaves some passes it on.
local function wake_up(key)
  if redis.call('LLEN', key) == 0 then
    redis.call('LPUSH', key, '1')
  end
end

-- Whether the job is still in the hands of the worker that claimed it under this token.
local function is_held(in_progress, token)
  return redis.call('GET', in_progress) == token
end

local function end_job(keys, job_id)
  redis.call('ZREM', keys[1], job_id)
  redis.call('DEL', keys[2], keys[3], keys[4])
end

-- Takes back the try that the claim has counted.
local function untry(retry)
  local tries = tonumber(redis.call('GET', retry) or '0')
  if tries > 1 then
    redis.call('DECR', retry)
  else
    redis.call('DEL', retry)
  end
end

-- Enqueues a job, or moves the one that waits to the new time; a running one stays marked as running.
local function enqueue_job(keys, job_id, payload, score)
  redis.call('SET', keys[2], payload)
  redis.call('ZADD', keys[1], score, job_id)
end

-- Calls a command with many arguments, a thousand at a time: Lua's stack has an end.
local function in_chunks(command, first, arguments)
  local answers = {}
  for i = 1, #arguments, 1000 do
    local last = math.min(i + 999, #arguments)
    local answer
    if first then
      answer = redis.call(command, first, unpack(arguments, i, last))
    else
      answer = redis.call(command, unpack(arguments, i, last))
    end
    if type(answer) == 'table' then
      for j = 1, #answer do
        answers[i + j - 1] = answer[j]
      end
    end
  end
  return answers
end
