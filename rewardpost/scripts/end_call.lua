#!lua flags=allow-oom
-- Ends a running call, and lets the circuit open or close by how it ended; a second time does nothing. Times are in
-- microseconds.
-- KEYS: 1 limit, 2 running calls (by deadline)
-- ARGV: 1 call, 2 how: answered, failed or abandoned, 3 how long the other side asks to wait (-1: it does not),
--       4 failures in a row that open the circuit, 5 first pause, 6 longest pause, 7 life of the keys in ms
local OLD_SHARE = 0.8
local FORGOTTEN = {'open_until', 'openings', 'probe', 'probe_until', 'sent_away'}

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local call, how, asked_for = ARGV[1], ARGV[2], tonumber(ARGV[3])
local found = redis.call('HMGET', KEYS[1], 'failures', 'openings', 'open_until', 'lasts')
local failures, openings = tonumber(found[1] or '0'), tonumber(found[2] or '0')
local open_until, lasts = tonumber(found[3] or '0'), tonumber(found[4] or '0')
local is_probe = redis.call('HGET', KEYS[1], 'probe') == call
if redis.call('ZREM', KEYS[2], call) == 0 and not is_probe then
  return 'late'
end
if is_probe then
  redis.call('HDEL', KEYS[1], 'probe', 'probe_until')
end

local function write(field, value)
  redis.call('HSET', KEYS[1], field, string.format('%.0f', value))
end

local function open(pause)
  open_until = math.max(open_until, now + pause)
  write('open_until', open_until)
  redis.call('HDEL', KEYS[1], 'sent_away')
end

if how == 'answered' then
  local lasted = now - tonumber(string.match(call, '#(%d+)$'))
  write('lasts', lasts > 0 and OLD_SHARE * lasts + (1 - OLD_SHARE) * lasted or lasted)
  write('failures', 0)
  if is_probe or open_until == 0 then
    redis.call('HDEL', KEYS[1], unpack(FORGOTTEN))
  end
elseif how == 'failed' and asked_for >= 0 then
  open(asked_for)
elseif how == 'failed' and (is_probe or open_until == 0) then
  -- What was under way when the circuit opened tells nothing new.
  failures = failures + 1
  if is_probe or failures >= tonumber(ARGV[4]) then
    open(math.min(tonumber(ARGV[5]) * 2 ^ openings, tonumber(ARGV[6])))
    write('openings', openings + 1)
    failures = 0
  end
  write('failures', failures)
end
local life = math.ceil(math.max(open_until - now, 0) / 1000) + tonumber(ARGV[7])
if redis.call('PTTL', KEYS[1]) < life then
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', life))
end
return 'ended'
