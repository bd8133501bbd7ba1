-- weed_expiring: forget the times to begin by of tasks that have begun or ended, and count those still waiting past them.
-- KEYS[1] zset expiring
-- ARGV[1] string task-key prefix   ARGV[2] int tasks at most   ARGV[3] int moment, Unix ms: what was late by then was
--   looked for in the whole pending list   ARGV[4] int how long what runs, or was not found there, is left alone, ms
-- Returns: array: late tasks that are pending, 1 when there is more to forget
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local most, later = tonumber(ARGV[2]), string.format('%d', now + tonumber(ARGV[4]))
local gone = {}

local function state_of(id)
  local state = redis.pcall('HGET', ARGV[1] .. id, 'state')
  return type(state) == 'string' and state
end

local late, waiting = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, most, 'WITHSCORES'), 0
for i = 1, #late, 2 do
  local id, state = late[i], state_of(late[i])
  if state == 'active' or (state == 'pending' and tonumber(late[i + 1]) <= tonumber(ARGV[3])) then
    redis.call('ZADD', KEYS[1], later, id)
  elseif state == 'pending' then
    waiting = waiting + 1
  else
    -- What is scheduled is noted again when it is due.
    gone[#gone + 1] = id
  end
end

-- Most tasks end long before. Some are looked at by chance, and more while many of those have ended: so what is
-- remembered in vain stays few.
local some, ended = redis.call('ZRANDMEMBER', KEYS[1], most), 0
for _, id in ipairs(some) do
  local state = state_of(id)
  if not state or state == 'completed' then
    ended = ended + 1
    gone[#gone + 1] = id
  end
end
if gone[1] then redis.call('ZREM', KEYS[1], unpack(gone)) end
local is_full = #some == most and ended * 4 > most
return {waiting, (is_full or (#late == 2 * most and waiting == 0)) and 1 or 0}
