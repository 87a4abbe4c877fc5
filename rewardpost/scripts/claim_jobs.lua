#!lua flags=allow-oom
-- Claims as many due jobs as there are free slots: marks each with the token for the time of the lease, and moves its
-- score to the end of the lease, in a lane of its own, so that the queue itself gives a dead worker's jobs back, before
-- all others, and nobody looks at running ones again.
-- KEYS: 1 queue, 2 wake-up list, 3 pause mark; the keys of each job are built from the prefixes
-- ARGV: 1 token, 2 lease in ms, 3 free slots, 4 how many of them jobs that come again may take from new ones,
--       5 prefix of payloads, 6 of marks, 7 of tries, 8 life of tries in ms
-- Answers {now in ms, next due job in ms (or -1), whether more are due (or 'paused'), how many were gone,
--          then id, payload, tries and due time in ms of each}
--@include jobs
local now_ms = time_ms()
if redis.call('EXISTS', KEYS[3]) == 1 then
  return {now_ms, -1, 'paused', 0}
end

local lease_ms, slots = tonumber(ARGV[2]), tonumber(ARGV[3])
local left = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', IN_HAND + now_ms, 'WITHSCORES', 'LIMIT', 0, slots)
slots = slots - #left / 2
local new = redis.call('ZRANGEBYSCORE', KEYS[1], 0, now_ms, 'WITHSCORES', 'LIMIT', 0, slots)
local again = redis.call('ZRANGEBYSCORE', KEYS[1], AGAIN, AGAIN + now_ms, 'WITHSCORES', 'LIMIT', 0, slots)
local of_again = math.min(#again / 2, math.max(tonumber(ARGV[4]), slots - #new / 2))
local of_new = math.min(#new / 2, slots - of_again)

local ids, dues, payload_keys, tries_keys = {}, {}, {}, {}
local function consider(id, due_ms)
  local n = #ids + 1
  ids[n], dues[n], payload_keys[n], tries_keys[n] = id, due_ms, ARGV[5] .. id, ARGV[7] .. id
end
for i = 1, #left / 2 do
  consider(left[2 * i - 1], left[2 * i] - IN_HAND)
end
for i = 1, of_new do
  consider(new[2 * i - 1], tonumber(new[2 * i]))
end
for i = 1, of_again do
  consider(again[2 * i - 1], again[2 * i] - AGAIN)
end
local payloads, tries = in_chunks('MGET', nil, payload_keys), in_chunks('MGET', nil, tries_keys)

local answer = {now_ms, -1, 0, 0}
local moves = {}
for i, id in ipairs(ids) do
  local mark = ARGV[6] .. id
  if not redis.call('SET', mark, ARGV[1], 'NX', 'PX', lease_ms) then
    -- Running elsewhere, and moved to the front: by an operator, by Job.abort(), or by a stock worker's claim.
    local rest = redis.call('PTTL', mark)
    moves[#moves + 1] = IN_HAND + now_ms + (rest >= 0 and rest + 1 or lease_ms)
    moves[#moves + 1] = id
  elseif not payloads[i] then
    end_job({KEYS[1], payload_keys[i], mark, tries_keys[i]}, id)
    answer[4] = answer[4] + 1
  else
    local try = (tonumber(tries[i]) or 0) + 1
    redis.call('SET', tries_keys[i], try, 'PX', ARGV[8])
    moves[#moves + 1] = IN_HAND + now_ms + lease_ms
    moves[#moves + 1] = id
    local n = #answer
    answer[n + 1], answer[n + 2], answer[n + 3], answer[n + 4] = id, payloads[i], try, dues[i]
  end
end
in_chunks('ZADD', KEYS[1], moves)

local function first(least, most, lane)
  local found = redis.call('ZRANGEBYSCORE', KEYS[1], least, most, 'WITHSCORES', 'LIMIT', 0, 1)
  return found[2] and found[2] - lane or math.huge
end
local next_ms = math.min(first('-inf', '(0', IN_HAND), first(0, '(' .. AGAIN, 0), first(AGAIN, '+inf', AGAIN))
if next_ms <= now_ms then
  answer[3] = 1
  wake_up(KEYS[2])
elseif next_ms < math.huge then
  answer[2] = next_ms
end
return answer
