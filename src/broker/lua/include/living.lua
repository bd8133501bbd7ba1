-- living: which tasks of an entry have not ended yet. Retrying counts as living.
local LIVING = {pending = true, scheduled = true, aggregating = true, active = true, retry = true}

-- Returns the living ids, and the state of each. What nobody can read names none.
local function living(prefix, packed)
  local ids, states = {}, {}
  local is_read, named = pcall(cmsgpack.unpack, packed or '')
  if not is_read or type(named) ~= 'table' then return ids, states end
  for _, id in ipairs(named) do
    local state = type(id) == 'string' and redis.pcall('HGET', prefix .. id, 'state')
    if type(state) == 'string' and LIVING[state] and not states[id] then
      ids[#ids + 1] = id
      states[id] = state
    end
  end
  return ids, states
end

-- The list with one id more, the newest 20 of them.
local function packed_with(ids, id)
  ids[#ids + 1] = id
  while #ids > 20 do table.remove(ids, 1) end
  return cmsgpack.pack(ids)
end
