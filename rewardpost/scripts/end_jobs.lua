#!lua flags=allow-oom
-- Writes down how jobs ended that were claimed, for each only while it is still held under its token.
-- KEYS: 1 queue, 2 wake-up list; the keys of each job are built from the prefixes
-- ARGV: 1 prefix of payloads, 2 of marks, 3 of tries, 4 of results, then for each job: id, token, what became of it,
--       a time in ms, result (empty: none), life of the result in ms (0: for ever), how long its mark stays in ms (or 0):
--       'end'    it is done;
--       'again'  it is due again after that time, behind new jobs;
--       'later'  the same, but its try was none;
--       'back'   it is due as it was, at that time, and its try was none;
--       'ended'  its task has ended or deferred it already: there is only the result
-- Answers for each job 'ok' or 'lost'
--@include jobs
local now_ms = time_ms()
local marks = {}
for i = 5, #ARGV, 7 do
  marks[#marks + 1] = ARGV[2] .. ARGV[i]
end
local tokens = in_chunks('MGET', nil, marks)

local answer, ended, gone, stay = {}, {}, {}, {}
for i = 5, #ARGV, 7 do
  local id, what, ms, n = ARGV[i], ARGV[i + 2], tonumber(ARGV[i + 3]), #answer + 1
  local mark, retry = marks[n], ARGV[3] .. id
  if what ~= 'ended' and tokens[n] ~= ARGV[i + 1] then
    answer[n] = 'lost'
  else
    answer[n] = 'ok'
    if what == 'end' then
      ended[#ended + 1] = id
      local m = #gone
      gone[m + 1], gone[m + 2], gone[m + 3] = ARGV[1] .. id, mark, retry
      if tonumber(ARGV[i + 6]) > 0 then
        stay[#stay + 1] = {mark, ARGV[i + 6]}
      end
    elseif what ~= 'ended' then
      if what ~= 'again' then
        untry(retry)
      end
      redis.call('DEL', mark)
      redis.call('ZADD', KEYS[1], 'XX', what == 'back' and ms or AGAIN + now_ms + ms, id)
      wake_up(KEYS[2])
    end
    if ARGV[i + 4] ~= '' then
      local life = tonumber(ARGV[i + 5])
      if life > 0 then
        redis.call('SET', ARGV[4] .. id, ARGV[i + 4], 'PX', life)
      else
        redis.call('SET', ARGV[4] .. id, ARGV[i + 4])
      end
    end
  end
end
in_chunks('ZREM', KEYS[1], ended)
in_chunks('DEL', nil, gone)
for _, each in ipairs(stay) do
  redis.call('SET', each[1], 'ended', 'PX', each[2])
end
return answer
