"""What a predict stage is made of: its folder, its images, what they cost, the way of cases, how sure the model is."""
