-- Which actions make sense for this CronTask.
local suspended = obj.spec.suspend == true
return {
  suspend = {disabled = suspended},
  resume = {disabled = not suspended},
}
