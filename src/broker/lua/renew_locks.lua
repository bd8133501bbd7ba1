-- renew_locks: keep the locks of unique tasks that have not ended, and forget those of tasks that have.
-- KEYS[1] zset locks
-- ARGV[1] string task-key prefix   ARGV[2] int tasks at most   ARGV[3] int life of a lock that another program took, s
-- ARGV[4] string what the key of every lock of this queue begins with
-- Returns: array: locks lengthened or taken again, 1 when more are to be looked at
local now, prefix = tonumber(redis.call('TIME')[1]), ARGV[4]
local ids = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[2])
local kept, gone, later = 0, {}, {}
for _, id in ipairs(ids) do
  local field = redis.call('HMGET', ARGV[1] .. id, 'unique_key', 'cronmill_lock', 'state')
  -- Whatever somebody else wrote there, the other locks are kept.
  local key, life_s = field[1], string.match(field[2] or '', '^[1-9]%d?%d?%d?%d?%d?%d?%d?%d?%d?$') or ARGV[3]
  local is_lock = key and string.sub(key, 1, #prefix) == prefix
  local has_ended = not is_lock or field[3] == 'archived' or field[3] == 'completed'
  if is_lock and has_ended then unlock(key, id) end
  local holder = not has_ended and redis.pcall('GET', key)
  if has_ended or (holder and holder ~= id) then
    gone[#gone + 1] = id
  else
    if not holder then
      redis.call('SET', key, id, 'EX', life_s)
      kept = kept + 1
    elseif redis.call('TTL', key) < tonumber(life_s) then
      redis.call('EXPIRE', key, life_s)
      kept = kept + 1
    end
    later[#later + 1] = now + look_after(life_s)
    later[#later + 1] = id
  end
end
if #gone > 0 then redis.call('ZREM', KEYS[1], unpack(gone)) end
if #later > 0 then redis.call('ZADD', KEYS[1], unpack(later)) end
return {kept, #ids == tonumber(ARGV[2]) and 1 or 0}
