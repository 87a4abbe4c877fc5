#!lua flags=allow-oom
-- Writes one change of a fulfilment, all of it or nothing: refused when the record is not the one it was decided on.
-- KEYS: 1 record, 2 journal, 3 personal data, 4 bucket of done-markers, 5 index of the state before,
--       6 index of the state after, 7 index of the customer,
--       8-11 the reward's job: queue, payload, in-progress, retry,
--       12-15 the delivery's job: the same; 16 marker of the settled delivery, 17 counts of events,
--       18 holds at large, 19 wake-up list
-- ARGV: 1 the change as msgpack (which knows no binary here): {reference, revision, customer, done, life_ms, forget_ms,
--       while_held, unless_held,
--       job = {id, step, due_ms, token}, delivery = {job_id, token, memory_ms, event}}, 2 record (empty: it stays as it
--       is), 3 personal data (empty: it stays), 4 payload of the reward's job, then the journal's new entries
-- A token says that the caller runs the job. Once the job is no longer held under it, what the caller has found out is
-- still written down, but nothing that it would go on from, and the job is left to whoever holds it.
--@include jobs
local change = cmsgpack.unpack(ARGV[1])
local current = redis.call('HMGET', KEYS[1], 'revision', 'record')
local revision = tonumber(current[1] or '0')
if revision ~= change.revision then
  return {'stale', current[2]}
end
if revision == 0 and ARGV[2] ~= '' then
  local ended = redis.call('HGET', KEYS[4], change.reference)
  if ended then
    return {'done', ended}
  end
end

if change.while_held and redis.call('HEXISTS', KEYS[18], change.while_held) == 0 then
  return {'stale'}
end
for _, scope in ipairs(change.unless_held or {}) do
  if redis.call('HEXISTS', KEYS[18], scope) == 1 then
    return {'stale'}
  end
end

local job = change.job
local delivery = change.delivery
local holds_job = not job.token or is_held(KEYS[10], job.token)
if not holds_job and (job.step == 'keep' or ARGV[2] == '') then
  return {'lost'}
end
if delivery and not is_held(KEYS[14], delivery.token) then
  return {'lost'}
end

local now_ms = time_ms()
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], 'revision', revision + 1, 'record', ARGV[2])
  for i = 5, #ARGV do
    redis.call('RPUSH', KEYS[2], ARGV[i])
  end
  redis.call('ZREM', KEYS[5], change.reference)
  redis.call('ZADD', KEYS[6], now_ms, change.reference)
  if change.customer then
    redis.call('SADD', KEYS[7], change.reference)
    redis.call('PEXPIRE', KEYS[7], change.life_ms)
  end
  if ARGV[3] ~= '' then
    redis.call('SET', KEYS[3], ARGV[3])
  end
  if change.done then
    redis.call('HSET', KEYS[4], change.reference, change.done)
    redis.call('PEXPIRE', KEYS[1], change.life_ms)
    redis.call('PEXPIRE', KEYS[2], change.life_ms)
    redis.call('PEXPIRE', KEYS[3], change.forget_ms)
    redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', now_ms - change.life_ms)
  else
    redis.call('PERSIST', KEYS[1])
    redis.call('PERSIST', KEYS[2])
    redis.call('PERSIST', KEYS[3])
  end
end

local job_keys = {KEYS[8], KEYS[9], KEYS[10], KEYS[11]}
if not holds_job then
  return {'written', now_ms, 'lost'}
elseif job.step == 'end' then
  end_job(job_keys, job.id)
elseif job.step == 'due' then
  local due_ms = job.due_ms or now_ms
  if job.token then
    enqueue_job(job_keys, job.id, ARGV[4], AGAIN + due_ms)
    redis.call('DEL', KEYS[10], KEYS[11])
  else
    enqueue_job(job_keys, job.id, ARGV[4], due_ms)
  end
  wake_up(KEYS[19])
end

if delivery then
  end_job({KEYS[12], KEYS[13], KEYS[14], KEYS[15]}, delivery.job_id)
  redis.call('SET', KEYS[16], '1', 'PX', delivery.memory_ms)
  redis.call('HINCRBY', KEYS[17], delivery.event, 1)
end
return {'written', now_ms}
