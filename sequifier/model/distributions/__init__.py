"""The distributions that a real target may be predicted with: in torch, as ONNX nodes, and on arrays without torch.

`family` has them by name. To add one: a file with its class and an entry in `family`, a form in `forms`, and its name
and sizes in `config/catalogue/distributions.py`.
"""
