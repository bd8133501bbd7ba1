-- forward_tasks: move tasks whose time has come to pending, or to their group.
-- KEYS[1] zset scheduled or retry   KEYS[2] list pending   KEYS[3] set groups   KEYS[4] zset locks
-- KEYS[5] zset expiring
-- ARGV[1] string task-key prefix   ARGV[2] string group-key prefix   ARGV[3] int tasks at most
-- ARGV[4] string name of the header with the time to begin by, or '' where that has lost its meaning
-- Returns: array: tasks moved, 1 when more are due, Unix s of the next one not yet due or ''
local clock = redis.call('TIME')
local now_ns = clock[1] .. string.format('%06d', clock[2]) .. '000'
local ids = redis.call('ZRANGE', KEYS[1], '-inf', clock[1], 'BYSCORE', 'LIMIT', 0, ARGV[3])
local moved = 0
for _, id in ipairs(ids) do
  local task = ARGV[1] .. id
  local field = redis.call('HMGET', task, 'msg', 'group', 'cronmill_revoked', 'unique_key', 'cronmill_lock')
  if not field[1] or field[3] then
    unlock(field[4], id, KEYS[4])
    redis.call('UNLINK', task)
  elseif field[2] and field[2] ~= '' then
    redis.call('ZADD', ARGV[2] .. field[2], clock[1], id)
    redis.call('SADD', KEYS[3], field[2])
    redis.call('HSET', task, 'state', 'aggregating')
    moved = moved + 1
  else
    redis.call('LPUSH', KEYS[2], id)
    redis.call('HSET', task, 'state', 'pending', 'pending_since', now_ns)
    moved = moved + 1
    local begin_by = ARGV[4] ~= '' and expires_ms(field[1], ARGV[4])
    if begin_by then redis.pcall('ZADD', KEYS[5], begin_by, id) end
  end
  -- Another program's lock: from now on it is kept while the task lives.
  if field[4] and not field[5] and not field[3] then redis.call('ZADD', KEYS[4], 'NX', clock[1], id) end
end
if #ids > 0 then redis.call('ZREM', KEYS[1], unpack(ids)) end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local more = (first[2] and tonumber(first[2]) <= tonumber(clock[1])) and 1 or 0
return {moved, more, first[2] or ''}
