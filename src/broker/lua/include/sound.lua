-- sound: whether keys hold what they are for, to be found out before anything is written. Each is asked once a call.
local found = {}

-- Adds keys, each with the type it ought to have, to what is needed.
local function add(needs, ...)
  for _, word in ipairs({...}) do needs[#needs + 1] = word end
end

-- Adds what is written to when a task is stored that may run at once. `at` has what `store` asks for, and `pending`.
local function add_new(needs, group, unique, at)
  if group == '' then
    add(needs, at.pending, 'list')
  else
    add(needs, at.group .. group, 'zset', at.groups, 'set')
  end
  if unique ~= '' then add(needs, unique, 'string', at.locks, 'zset') end
end

-- Adds what is written to when living tasks are pulled out of retry, or taken back. `at` has what those
-- ask for.
local function add_living(needs, is_pulled, ids, states, at)
  for _, id in ipairs(ids) do
    local state = states[id]
    if is_pulled then
      if state == 'retry' then add(needs, at.retry, 'zset', at.pending, 'list') end
    elseif state == 'aggregating' then
      local group = redis.call('HGET', at.task .. id, 'group') or ''
      add(needs, at.group .. group, 'zset', at.groups, 'set', at.locks, 'zset')
    elseif state == 'retry' or state == 'scheduled' then
      add(needs, at[state], 'zset', at.locks, 'zset')
    else
      add(needs, at.holders, 'hash')
    end
  end
end

-- Returns nothing, or what is wrong with the first key that holds something else.
local function unsound(needs)
  for i = 1, #needs, 2 do
    local key, kind = needs[i], needs[i + 1]
    if not found[key] then found[key] = redis.call('TYPE', key).ok end
    if found[key] ~= kind and found[key] ~= 'none' then
      return 'the key ' .. key .. ' holds a ' .. found[key] .. ' where a ' .. kind .. ' belongs: delete or rename it'
    end
  end
end
