#!lua flags=allow-oom
-- Lets a caller call now, or keeps its place in the line and says when to ask again. All times are in microseconds.
-- Who has to wait holds a ticket. Nobody's turn is written down as a time: it is when the next call may be made, and
-- one interval more for each ticket before one's own. So whatever holds the first up holds everybody up, and nothing
-- has to be caught up afterwards.
-- KEYS: 1 line (callers by ticket), 2 callers that were not there at their turn (by ticket), 3 limit,
--       4 running calls (by deadline)
-- ARGV: 1 who, 2 interval (0: none), 3 how late a call may be, 4 concurrency (0: no bound), 5 longest call,
--       6 life of the keys in ms beyond the last turn
local SECOND = 1000000
local NEAR = SECOND / 4
-- Turns come faster than running calls end, so that somebody is there when one does, and when calls become quicker.
local AHEAD_OF_ENDS = 0.5
local FIRST_GUESS = 100000 -- of how long a call takes, until one has ended
local KEPT_PLACES = 10000

local time = redis.call('TIME')
local now = time[1] * SECOND + time[2]
local who = ARGV[1]
local interval, tolerance, concurrency = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local longest, life_ms = tonumber(ARGV[5]), tonumber(ARGV[6])
local fields = {'free', 'went', 'asked', 'excused', 'open_until', 'probe_until', 'lasts'}
local limit = {}
for i, value in ipairs(redis.call('HMGET', KEYS[3], unpack(fields))) do
  limit[fields[i]] = tonumber(value or '0')
end

local function write(...)
  local pairs_ = {...}
  for i = 2, #pairs_, 2 do
    pairs_[i] = string.format('%.0f', pairs_[i])
  end
  redis.call('HSET', KEYS[3], unpack(pairs_))
end

local function live(until_)
  local life = math.ceil(math.max(until_ - now, 0) / 1000) + life_ms
  for i = 1, 3 do
    redis.call('PEXPIRE', KEYS[i], string.format('%.0f', life))
  end
end

-- A worker that died says no more: its call is over at the deadline.
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now)
local running = redis.call('ZCARD', KEYS[4])
local queued = redis.call('ZSCORE', KEYS[1], who)
local ticket = queued or redis.call('ZSCORE', KEYS[2], who)
local ahead = redis.call('ZCOUNT', KEYS[1], '-inf', ticket and '(' .. ticket or '+inf')

local slot_pace = 0
if concurrency > 0 then
  slot_pace = math.floor(AHEAD_OF_ENDS * limit.lasts / concurrency)
end
local pace = math.max(interval, slot_pace)

-- Nobody has asked for a while: there were no workers. Those before this caller get the chance that they have not
-- had, once: if nobody goes then either, they do not come any more.
if ahead > 0 and limit.excused == 0 and now - limit.asked > math.max(2 * pace, SECOND) then
  limit.free, limit.went = math.max(limit.free, now), now
  write('free', limit.free, 'went', now, 'excused', 1)
end
write('asked', now)

local free = limit.free - tolerance
local closed = limit.open_until == 0
local why = nil
local from = free
if limit.open_until > now then
  why, from = 'OPEN', limit.open_until
elseif not closed and limit.probe_until > now then
  why, from = 'PROBE', math.min(limit.probe_until, now + SECOND)
elseif concurrency > 0 and running >= concurrency then
  local soon = (limit.lasts > 0 and limit.lasts or FIRST_GUESS) / concurrency / 10
  why, from = 'FULL', now + math.min(math.max(soon, SECOND / 100), NEAR)
elseif now < free + ahead * interval then
  why, from = 'TURN', free + ahead * interval
end
if not why and ahead * slot_pace > NEAR and now < limit.went + ahead * slot_pace then
  -- There is a slot, but for those before. Who is near the front may take it: whose turn it is need not be here yet.
  why, from = 'TURN', limit.went + ahead * slot_pace
end

if not why then
  if ahead > 0 then
    local passed = redis.call('ZRANGE', KEYS[1], 0, ahead - 1, 'WITHSCORES')
    for i = 1, #passed, 2 do
      redis.call('ZADD', KEYS[2], passed[i + 1], passed[i])
    end
    redis.call('ZREMRANGEBYRANK', KEYS[1], 0, ahead - 1)
    redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -KEPT_PLACES - 1)
  end
  redis.call('ZREM', KEYS[1], who)
  redis.call('ZREM', KEYS[2], who)
  local call = string.format('%s#%.0f', who, now)
  redis.call('ZADD', KEYS[4], now + longest, call)
  redis.call('PEXPIRE', KEYS[4], string.format('%.0f', math.ceil(longest / 1000) + life_ms))
  limit.free = math.max(limit.free, now) + interval
  write('free', limit.free, 'went', now, 'excused', 0)
  if not closed then
    redis.call('HSET', KEYS[3], 'probe', call)
    write('probe_until', now + longest)
  end
  live(limit.free + redis.call('ZCARD', KEYS[1]) * pace)
  return {'go', call}
end

local place = ahead
if queued then
  -- It keeps its place, whatever it waits for.
elseif why == 'OPEN' or why == 'PROBE' then
  -- No ticket: who can do without this side meanwhile will not come again. Only the coming back is spread.
  place = redis.call('ZCARD', KEYS[1]) + redis.call('HINCRBY', KEYS[3], 'sent_away', 1) - 1
else
  redis.call('ZADD', KEYS[1], ticket or redis.call('HINCRBY', KEYS[3], 'tickets', 1), who)
  redis.call('ZREM', KEYS[2], who)
end
if pace == 0 and concurrency > 0 then
  pace = math.floor(AHEAD_OF_ENDS * FIRST_GUESS / concurrency)
end
local due = from
if why ~= 'TURN' then
  due = math.max(from, free) + place * math.max(pace, SECOND / 1000)
end
live(math.max(due, limit.open_until) + (redis.call('ZCARD', KEYS[1]) - ahead) * pace)
return {'wait', math.ceil(due), now, why}
