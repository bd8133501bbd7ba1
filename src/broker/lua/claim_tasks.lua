-- claim_tasks: move the oldest pending tasks to active under a lease, and note what was given to whom.
-- KEYS[1] list pending   KEYS[2] list active   KEYS[3] zset lease   KEYS[4] string paused
-- KEYS[5] string cordon of this owner   KEYS[6] string receipt of this owner   KEYS[7] zset locks   KEYS[8] hash holders
-- ARGV[1] string task-key prefix   ARGV[2] string owner   ARGV[3] int sequence of this request
-- ARGV[4] int tasks at most   ARGV[5] int lease, s   ARGV[6] int message bytes at most   ARGV[7] int receipt life, s
-- Returns: array: status (tasks, empty, paused, cordoned), ids dropped because they had no task or ran already,
--   and where there are tasks lease end (Unix s; the earliest of all), and in MessagePack, which costs Redis a third
--   of what a reply of many parts does: ids; and for each in its place message, pending since (ns), revoked (1), with
--   false for what is not there
local call, prefix, owner = redis.call, ARGV[1], ARGV[2]

local function fields(task)
  return call('HMGET', task, 'msg', 'pending_since', 'cronmill_revoked')
end

local note = call('MGET', KEYS[6], KEYS[4], KEYS[5])
-- The same request again: its reply was lost. Answer with what it was given and still holds.
if note[1] then
  local sequence, packed = string.match(note[1], '^(%d+) (.*)$')
  if sequence == ARGV[3] then
    local given = cmsgpack.unpack(packed)
    local held = call('HMGET', KEYS[8], unpack(given))
    local ids, tasks, earliest = {}, {}, math.huge
    for i = 1, #given do
      local lease_end = call('ZSCORE', KEYS[3], given[i])
      if owned(held[i], lease_end, owner) then
        earliest = math.min(earliest, tonumber(lease_end))
        ids[#ids + 1] = given[i]
        tasks[#ids] = fields(prefix .. given[i])
      end
    end
    if not ids[1] then return {'tasks', 0} end
    return {'tasks', 0, earliest, cmsgpack.pack(ids), cmsgpack.pack(tasks)}
  end
end

if note[2] then return {'paused', 0} end
if note[3] then return {'cordoned', 0} end
local ids = call('LRANGE', KEYS[1], '-' .. ARGV[4], '-1')
if not ids[1] then return {'empty', 0} end

local clock = call('TIME')
-- As text once: a number is formatted anew for every command.
local lease_end = string.format('%d', clock[1] + ARGV[5] + (clock[2] ~= '0' and 1 or 0))
local found, tasks, hashes, leases, k = {}, {}, {}, {}, 0
local dropped, bytes, bytes_most, seen = 0, 0, tonumber(ARGV[6]), 0
for i = #ids, 1, -1 do
  local id = ids[i]
  local hash = prefix .. id
  local task = fields(hash)
  local size = task[1] and #task[1] or 0
  if bytes > 0 and bytes + size > bytes_most then break end
  seen, bytes = seen + 1, bytes + size
  if task[1] then
    k = k + 1
    found[k], tasks[k], hashes[k], leases[2 * k - 1], leases[2 * k] = id, task, hash, lease_end, id
  else
    call('UNLINK', hash)
    dropped = dropped + 1
  end
end

-- The writes that can fail go first. A lease that is there already belongs to a task that runs, or was left behind.
if k > 0 and call('ZADD', KEYS[3], 'NX', unpack(leases)) < k then
  local all, all_tasks, all_hashes = found, tasks, hashes
  found, tasks, hashes = {}, {}, {}
  for i, id in ipairs(all) do
    if call('HGET', all_hashes[i], 'state') == 'active' then
      dropped = dropped + 1
    else
      call('ZADD', KEYS[3], lease_end, id)
      found[#found + 1] = id
      tasks[#found], hashes[#found] = all_tasks[i], all_hashes[i]
    end
  end
end
local held, holders = lease_end .. ' ' .. owner, {}
for i, id in ipairs(found) do holders[2 * i - 1], holders[2 * i] = id, held end
if found[1] then
  local noted, moved = redis.pcall('HSET', KEYS[8], unpack(holders)), nil
  if type(noted) == 'number' then moved = redis.pcall('LPUSH', KEYS[2], unpack(found)) end
  if type(moved) ~= 'number' then
    call('ZREM', KEYS[3], unpack(found))
    if moved then call('HDEL', KEYS[8], unpack(found)) end
    return moved or noted
  end
end
for i, id in ipairs(found) do
  call('HSET', hashes[i], 'state', 'active')
  -- Also a lock that another program took is kept from now on, while the task lives.
  if string.find(tasks[i][1], ':unique:', 1, true) then call('ZADD', KEYS[7], 'NX', clock[1], id) end
end
call('LTRIM', KEYS[1], '0', -1 - seen)
if found[1] then
  local packed = cmsgpack.pack(found)
  call('SET', KEYS[6], ARGV[3] .. ' ' .. packed, 'EX', ARGV[7])
  return {'tasks', dropped, lease_end, packed, cmsgpack.pack(tasks)}
end
return {'tasks', dropped}
