-- extend_leases: lengthen the leases an owner still holds.
-- KEYS[1] zset lease   KEYS[2] hash holders
-- ARGV[1] string task-key prefix   ARGV[2] string owner   ARGV[3] int lease, s   ARGV[4..] string ids
-- Returns: array: new lease end (Unix s), then per id 0 (lost), 1 (extended) or extended, but to be
--   stopped: 2 (revoked), 3 (cancelled), 4 (cancelled, to be retried)
local clock = redis.call('TIME')
local lease_end = tonumber(clock[1]) + tonumber(ARGV[3])
if clock[2] ~= '0' then lease_end = lease_end + 1 end
lease_end = string.format('%d', lease_end)
local held = lease_end .. ' ' .. ARGV[2]
local reply, holders = {tonumber(lease_end)}, redis.call('HMGET', KEYS[2], unpack(ARGV, 4))
for i = 4, #ARGV do
  local id = ARGV[i]
  local task = ARGV[1] .. id
  local score = redis.call('ZSCORE', KEYS[1], id)
  local is_theirs, revoked = owned(holders[i - 3], score, ARGV[2])
  if is_theirs then
    local asked = cancelled(task, score)
    redis.call('ZADD', KEYS[1], 'XX', lease_end, id)
    redis.call('HSET', KEYS[2], id, held .. (revoked and ' revoked' or ''))
    -- The mark goes along with the lease it names.
    if asked then redis.call('HSET', task, 'cronmill_cancel', lease_end .. '|' .. asked) end
    reply[#reply + 1] = revoked and 2 or asked == 'stop' and 3 or asked and 4 or 1
  else
    reply[#reply + 1] = 0
  end
end
return reply
