#!lua flags=allow-oom
-- Prolongs the leases of jobs in hand; answers the positions of those that are no longer held under their token.
-- KEYS: 1 queue; the marks are built from the prefix
-- ARGV: 1 prefix of marks, 2 lease in ms, then id and token of each
--@include jobs
local lease_ms = tonumber(ARGV[2])
local until_ms = time_ms() + lease_ms
local lost = {}
for i = 3, #ARGV, 2 do
  local mark = ARGV[1] .. ARGV[i]
  if is_held(mark, ARGV[i + 1]) then
    redis.call('PEXPIRE', mark, lease_ms)
    redis.call('ZADD', KEYS[1], 'XX', IN_HAND + until_ms, ARGV[i])
  else
    lost[#lost + 1] = (i - 3) / 2
  end
end
return lost
