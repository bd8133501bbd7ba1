-- claim_tasks: move the oldest pending tasks to active under a lease, and note what was given to whom.
-- KEYS[1] list pending   KEYS[2] list active   KEYS[3] zset lease   KEYS[4] string paused
-- KEYS[5] string cordon of this owner   KEYS[6] string receipt of this owner
-- ARGV[1] string task-key prefix   ARGV[2] string owner   ARGV[3] int sequence of this request
-- ARGV[4] int tasks at most   ARGV[5] int lease, s   ARGV[6] int message bytes at most   ARGV[7] int receipt life, s
-- Returns: array: status (tasks, empty, paused, cordoned), ids dropped because they had no task or ran already,
--   lease end (Unix s; the earliest of all), and as one MessagePack array, which costs Redis a third of what a
--   reply of many parts does, per task: id, message, pending since (ns or ''), crashes or '', revoked (1 or '')
local function add(tasks, id, field)
  local n = #tasks
  tasks[n + 1], tasks[n + 2], tasks[n + 3] = id, field[1], field[2] or ''
  tasks[n + 4], tasks[n + 5] = field[3] or '', field[4] or ''
end

local function fields(task)
  return redis.call('HMGET', task, 'msg', 'pending_since', 'cronmill_crashes', 'cronmill_revoked')
end

local note = redis.call('MGET', KEYS[6], KEYS[4], KEYS[5])
-- The same request again: its reply was lost. Answer with what it was given and still holds.
if note[1] then
  local given = cmsgpack.unpack(note[1])
  if given[1] == ARGV[3] then
    local tasks, earliest = {}, math.huge
    for i = 2, #given do
      local lease_end = redis.call('ZSCORE', KEYS[3], given[i])
      local task = ARGV[1] .. given[i]
      if owned(task, lease_end, ARGV[2]) then
        earliest = math.min(earliest, tonumber(lease_end))
        add(tasks, given[i], fields(task))
      end
    end
    return {'tasks', 0, #tasks > 0 and earliest or 0, cmsgpack.pack(tasks)}
  end
end

if note[2] then return {'paused', 0} end
if note[3] then return {'cordoned', 0} end
local ids = redis.call('LRANGE', KEYS[1], '-' .. ARGV[4], '-1')
if #ids == 0 then return {'empty', 0} end

local clock = redis.call('TIME')
-- As text once: a number is formatted anew for every command.
local lease_end = string.format('%d', tonumber(clock[1]) + tonumber(ARGV[5]) + (clock[2] ~= '0' and 1 or 0))
local found, leases, dropped, bytes, seen = {}, {}, 0, 0, 0
local field_of = {}
for i = #ids, 1, -1 do
  local id = ids[i]
  local field = fields(ARGV[1] .. id)
  local size = field[1] and #field[1] or 0
  if bytes > 0 and bytes + size > tonumber(ARGV[6]) then break end
  seen, bytes = seen + 1, bytes + size
  if field[1] then
    found[#found + 1] = id
    field_of[#found] = field
    leases[2 * #found - 1] = lease_end
    leases[2 * #found] = id
  else
    redis.call('UNLINK', ARGV[1] .. id)
    dropped = dropped + 1
  end
end

-- The first write that can fail. A lease that is there already belongs to a task that runs, or was left behind.
local all_new = #found == 0 or redis.call('ZADD', KEYS[3], 'NX', unpack(leases)) == #found
local tasks, taken = {}, {}
for n, id in ipairs(found) do
  local task = ARGV[1] .. id
  if all_new or redis.call('HGET', task, 'state') ~= 'active' then
    if not all_new then redis.call('ZADD', KEYS[3], lease_end, id) end
    redis.call('HSET', task, 'state', 'active', 'cronmill_owner', ARGV[2], 'cronmill_lease', lease_end)
    taken[#taken + 1] = id
    add(tasks, id, field_of[n])
  else
    dropped = dropped + 1
  end
end
redis.call('LTRIM', KEYS[1], '0', -1 - seen)
if #taken > 0 then
  redis.call('LPUSH', KEYS[2], unpack(taken))
  redis.call('SET', KEYS[6], cmsgpack.pack({ARGV[3], unpack(taken)}), 'EX', ARGV[7])
end
return {'tasks', dropped, lease_end, cmsgpack.pack(tasks)}
