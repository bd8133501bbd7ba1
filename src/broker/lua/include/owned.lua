-- owned: whether an attempt still belongs to an owner, and whether its task was taken back.
-- What a claim or an extension noted of it, lease end and owner, counts only while the lease still has that very
-- score: other programs move a task without touching our notes.
local expected_score, expected
local function owned(held, score, owner)
  if not held or not score then return false, false end
  -- Most leases of a call end in the same second: what is expected is put together once.
  if score ~= expected_score then expected_score, expected = score, score .. ' ' .. owner end
  if held == expected then return true, false end
  return held == expected .. ' revoked', string.sub(held, -8) == ' revoked'
end

-- Who holds an attempt, of what was noted and the lease's score; nil when that is about another lease.
local function holder(held, score)
  if not held or not score or string.sub(held, 1, #score + 1) ~= score .. ' ' then return nil end
  return (string.gsub(string.sub(held, #score + 2), ' revoked$', ''))
end
