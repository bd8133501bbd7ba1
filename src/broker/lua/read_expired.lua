-- read_expired: tasks whose lease is over. Nothing is changed.
-- KEYS[1] zset lease   KEYS[2] hash holders
-- ARGV[1] string task-key prefix   ARGV[2] int tasks at most   ARGV[3] int grace for leases that are not ours, s
-- Returns: array, per task: id, lease end, message or '', crashes, owner or '', stop where it was cancelled, else ''
-- A lease written by another program carries its own clock, so it gets a grace. Ours is Redis's time.
local now = tonumber(redis.call('TIME')[1])
local found = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[2], 'WITHSCORES')
local reply = {}
for i = 1, #found, 2 do
  local id, score = found[i], found[i + 1]
  local field = redis.call('HMGET', ARGV[1] .. id, 'msg', 'cronmill_crashes')
  local owner = holder(redis.call('HGET', KEYS[2], id), score)
  if owner or tonumber(score) <= now - tonumber(ARGV[3]) then
    local n = #reply
    reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = id, score, field[1] or '', field[2] or '0'
    reply[n + 5] = owner or ''
    reply[n + 6] = cancelled(ARGV[1] .. id, score) == 'stop' and 'stop' or ''
  end
end
return reply
