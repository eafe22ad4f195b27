"""Text and image: how well an image fits its prompt, and how much people would like it, by networks of the CLIP kind.

    prompts -> tokens -> text features  \\
                                          cosine -> value of each image -> mean and interval
    images  -> pixels -> image features /
"""
