"""When does a window's verdict become an episode, and an episode a request to retrain?"""
