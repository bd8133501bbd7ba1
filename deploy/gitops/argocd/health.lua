-- Health of either kind: whether what is asked for is in force. Each kind's own script goes on from here.
local function condition(name)
  for _, one in ipairs((obj.status or {}).conditions or {}) do
    if one.type == name then
      return one
    end
  end
  return {}
end

local status = obj.status or {}

if obj.metadata.deletionTimestamp ~= nil then
  return {status = "Progressing", message = "is being deleted"}
end
if status.observedGeneration == nil or status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "the operator has not seen this version yet"}
end
if condition("Reconciling").status == "True" then
  return {status = "Progressing", message = condition("Reconciling").message}
end
if condition("Stalled").status == "True" then
  return {status = "Degraded", message = condition("Stalled").message}
end
if condition("Ready").status ~= "True" then
  return {status = "Progressing", message = condition("Ready").message or "waiting for the operator"}
end
