-- clean_queue: delete what is past its time, repair what is stranded, lift a pause that is over.
-- KEYS[1] zset completed   KEYS[2] zset archived   KEYS[3] list active   KEYS[4] zset lease
-- KEYS[5] string paused   KEYS[6] hash pause note   KEYS[7] zset locks   KEYS[8] hash dropped   KEYS[9] hash holders
-- ARGV[1] string task-key prefix   ARGV[2] int tasks at most per step   ARGV[3] int archived tasks kept
-- ARGV[4] int archived age kept, s   ARGV[5] int place in active to look from   ARGV[6] int grace for the stranded, s
-- Returns: array: completed deleted, archived deleted for their age, archived deleted for their number,
--   stranded repaired, 1 when more is left, next place in active
local now = tonumber(redis.call('TIME')[1])
local most = tonumber(ARGV[2])

local function delete(zset, ids)
  for _, id in ipairs(ids) do
    local task = ARGV[1] .. id
    unlock(redis.call('HGET', task, 'unique_key'), id, KEYS[7])
    redis.call('UNLINK', task)
  end
  if #ids > 0 then redis.call('ZREM', zset, unpack(ids)) end
  return #ids
end

local expired = delete(KEYS[1], redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, most))
local old = delete(KEYS[2],
  redis.call('ZRANGE', KEYS[2], '-inf', now - tonumber(ARGV[4]), 'BYSCORE', 'LIMIT', 0, most))
local over = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[3])
local many = 0
if over > 0 and old < most then
  many = delete(KEYS[2], redis.call('ZRANGE', KEYS[2], 0, math.min(over, most - old) - 1))
end
if old > 0 then redis.call('HINCRBY', KEYS[8], 'age', old) end
if many > 0 then redis.call('HINCRBY', KEYS[8], 'number', many) end

-- An id in active without a lease is what another program's interrupted step leaves. Give it a lease, and
-- it comes back like any other task whose worker died.
local place, stranded = tonumber(ARGV[5]), 0
local ids = redis.call('LRANGE', KEYS[3], place, place + most - 1)
for _, id in ipairs(ids) do
  if redis.call('EXISTS', ARGV[1] .. id) == 0 then
    leave_list(KEYS[3], id)
    redis.call('ZREM', KEYS[4], id)
    stranded = stranded + 1
  elseif not redis.call('ZSCORE', KEYS[4], id) then
    redis.call('HDEL', KEYS[9], id)
    redis.call('ZADD', KEYS[4], now + tonumber(ARGV[6]), id)
    stranded = stranded + 1
  end
end

-- What another program took from a worker of ours leaves a note of its holder behind.
for _, id in ipairs(redis.call('HRANDFIELD', KEYS[9], most)) do
  if not redis.call('ZSCORE', KEYS[4], id) then redis.call('HDEL', KEYS[9], id) end
end

-- A note counts only for the pause it describes.
local note = redis.call('HMGET', KEYS[6], 'since', 'until')
local until_s = tonumber(note[2] or '')
if until_s and until_s <= now and note[1] == redis.call('GET', KEYS[5]) then redis.call('DEL', KEYS[5], KEYS[6]) end
local more = (expired == most or old + many >= most) and 1 or 0
return {expired, old, many, stranded, more, #ids == most and place + most or 0}
