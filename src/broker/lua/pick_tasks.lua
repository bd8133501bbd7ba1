-- pick_tasks: take named tasks out of a zset, and delete them, archive them, or make them pending.
-- KEYS[1] zset scheduled, retry, archived, completed or a group's members: where they are
-- KEYS[2] list pending   KEYS[3] zset archived   KEYS[4] set groups   KEYS[5] zset locks
-- ARGV[1] string task-key prefix   ARGV[2] string verb: delete, archive, run   ARGV[3] int now, Unix ns
-- ARGV[4] string group whose members KEYS[1] holds, or ''   ARGV[5] int life of a lock that another program took, s
-- ARGV[6..] per task: string id, string lock it holds or ''
-- Returns: array: tasks handled, ids taken out that had no task
-- One that has left the zset meanwhile is left alone. A group's name goes with its last member. A unique task that
-- had ended takes its lock again to run, and stays where it is when another one has it.
local now_s = string.sub(ARGV[3], 1, -10)

local function may_go(id)
  if ARGV[2] ~= 'run' then return true end
  local field = redis.call('HMGET', ARGV[1] .. id, 'state', 'unique_key', 'cronmill_lock')
  if (field[1] ~= 'archived' and field[1] ~= 'completed') or not field[2] or field[2] == '' then return true end
  local life_s = field[3] or ARGV[5]
  if lock(field[2], id, life_s, ARGV[1]) then return false end
  redis.call('ZADD', KEYS[5], tonumber(now_s) + look_after(life_s), id)
  return true
end

local ids, locks, gone = {}, {}, {}
for i = 6, #ARGV, 2 do
  local id = ARGV[i]
  if redis.call('ZSCORE', KEYS[1], id) then
    if redis.call('EXISTS', ARGV[1] .. id) == 0 then
      gone[#gone + 1] = id
    elseif may_go(id) then
      ids[#ids + 1] = id
      locks[#ids] = ARGV[i + 1]
    end
  end
end
enter(ARGV[2], ids, KEYS[2], KEYS[3], now_s)
if #ids > 0 then redis.call('ZREM', KEYS[1], unpack(ids)) end
if #gone > 0 then redis.call('ZREM', KEYS[1], unpack(gone)) end
if ARGV[4] ~= '' and redis.call('EXISTS', KEYS[1]) == 0 then redis.call('SREM', KEYS[4], ARGV[4]) end
for i, id in ipairs(ids) do settle(ARGV[2], ARGV[1] .. id, id, locks[i], ARGV[3]) end
return {#ids, #gone}
