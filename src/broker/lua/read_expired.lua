-- read_expired: tasks whose lease is over. Nothing is changed.
-- KEYS[1] zset lease   KEYS[2] hash holders
-- ARGV[1] string task-key prefix   ARGV[2] int tasks at most   ARGV[3] int grace for leases that are not ours, s
-- Returns: array, first 1 when there may be more, else 0; then per task what `tell` adds, at least one and then no more
--   than 1 MiB of messages
-- A lease written by another program carries its own clock, so it gets a grace. Ours is Redis's time.
local now = tonumber(redis.call('TIME')[1])
local found = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[2], 'WITHSCORES')
local reply, bytes = {#found == 2 * tonumber(ARGV[2]) and 1 or 0}, 0
for i = 1, #found, 2 do
  local id, score = found[i], found[i + 1]
  local owner = holder(redis.call('HGET', KEYS[2], id), score)
  if owner or tonumber(score) <= now - tonumber(ARGV[3]) then
    bytes = bytes + tell(reply, ARGV[1], id, score, owner)
    if bytes > BYTES_MAX then
      reply[1] = 1
      break
    end
  end
end
return reply
