"""Fields over points: functions and vector fields."""
