-- claim_tasks: move the oldest pending tasks to active under a lease, and note what was given to whom.
-- KEYS[1] list pending   KEYS[2] list active   KEYS[3] zset lease   KEYS[4] string paused
-- KEYS[5] string cordon of this owner   KEYS[6] string receipt of this owner   KEYS[7] zset locks
-- ARGV[1] string task-key prefix   ARGV[2] string owner   ARGV[3] int sequence of this request
-- ARGV[4] int tasks at most   ARGV[5] int lease, s   ARGV[6] int message bytes at most   ARGV[7] int receipt life, s
-- Returns: array: status (tasks, empty, paused, cordoned), ids dropped because they had no task,
--   then per task: id, message, pending since (ns or ''), crashes, revoked (0 or 1), lease end (Unix s)
local function fields(task)
  return redis.call('HMGET', task, 'msg', 'pending_since', 'cronmill_crashes', 'cronmill_revoked', 'state', 'unique_key',
    'cronmill_lock')
end

local function add(reply, id, field, lease_end)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3] = id, field[1], field[2] or ''
  reply[n + 4], reply[n + 5], reply[n + 6] = field[3] or '0', field[4] and 1 or 0, lease_end
end

-- The same request again: its reply was lost. Answer with what it was given and still holds.
local receipt = redis.call('GET', KEYS[6])
if receipt then
  local given = cmsgpack.unpack(receipt)
  if given[1] == ARGV[3] then
    local reply = {'tasks', 0}
    for i = 2, #given do
      local lease_end = redis.call('ZSCORE', KEYS[3], given[i])
      local task = ARGV[1] .. given[i]
      if owned(task, lease_end, ARGV[2]) then add(reply, given[i], fields(task), lease_end) end
    end
    return reply
  end
end

if redis.call('EXISTS', KEYS[4]) == 1 then return {'paused', 0} end
if redis.call('EXISTS', KEYS[5]) == 1 then return {'cordoned', 0} end
local ids = redis.call('LRANGE', KEYS[1], -tonumber(ARGV[4]), -1)
if #ids == 0 then return {'empty', 0} end

local clock = redis.call('TIME')
-- As text once: a number is formatted anew for every command.
local lease_end = string.format('%d', tonumber(clock[1]) + tonumber(ARGV[5]) + (clock[2] ~= '0' and 1 or 0))
local reply, taken, leases, bytes, seen = {'tasks', 0}, {}, {}, 0, 0
for i = #ids, 1, -1 do
  local id = ids[i]
  local task = ARGV[1] .. id
  local field = fields(task)
  local size = field[1] and #field[1] or 0
  if #taken > 0 and bytes + size > tonumber(ARGV[6]) then break end
  seen = seen + 1
  if not field[1] then
    redis.call('UNLINK', task)
    reply[2] = reply[2] + 1
  elseif field[5] == 'active' and redis.call('ZSCORE', KEYS[3], id) then
    reply[2] = reply[2] + 1
  else
    bytes = bytes + size
    taken[#taken + 1] = id
    leases[#leases + 1] = lease_end
    leases[#leases + 1] = id
    add(reply, id, field, lease_end)
    redis.call('HSET', task, 'state', 'active', 'cronmill_owner', ARGV[2], 'cronmill_lease', lease_end)
    if field[2] then redis.call('HDEL', task, 'pending_since') end
    -- Another program's lock: from now on it is kept while the task lives.
    if field[6] and not field[7] then redis.call('ZADD', KEYS[7], 'NX', clock[1], id) end
  end
end
redis.call('RPOP', KEYS[1], seen)
if #taken > 0 then
  redis.call('LPUSH', KEYS[2], unpack(taken))
  redis.call('ZADD', KEYS[3], unpack(leases))
  redis.call('SET', KEYS[6], cmsgpack.pack({ARGV[3], unpack(taken)}), 'EX', ARGV[7])
end
return reply
