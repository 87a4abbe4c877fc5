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
local answer = {}
for i = 5, #ARGV, 7 do
  local id, what, ms = ARGV[i], ARGV[i + 2], tonumber(ARGV[i + 3])
  local keys = {KEYS[1], ARGV[1] .. id, ARGV[2] .. id, ARGV[3] .. id}
  local held = what == 'ended' or is_held(keys[3], ARGV[i + 1])
  if not held then
    answer[#answer + 1] = 'lost'
  else
    if what == 'end' then
      end_job(keys, id)
      if tonumber(ARGV[i + 6]) > 0 then
        redis.call('SET', keys[3], 'ended', 'PX', ARGV[i + 6])
      end
    elseif what ~= 'ended' then
      if what ~= 'again' then
        untry(keys[4])
      end
      redis.call('DEL', keys[3])
      if what == 'back' then
        redis.call('ZADD', KEYS[1], 'XX', ms, id)
      else
        redis.call('ZADD', KEYS[1], 'XX', AGAIN + now_ms + ms, id)
      end
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
    answer[#answer + 1] = 'ok'
  end
end
return answer
