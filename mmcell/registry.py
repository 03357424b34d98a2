"""The scope `mmcell`, which MMEngine gives to everything that a config inherits from `mmcell::…`.

MMEngine imports this module when it meets that scope. Our classes stand in MMDetection's registries; each registry of
the scope is a child of one of these, so that names resolve as under `default_scope = 'mmdet'`.
"""

import mmdet.registry
from mmengine.registry import Registry

for _parent in vars(mmdet.registry).values():
    if isinstance(_parent, Registry) and _parent.scope == 'mmdet':
        # A child looks into what its parents hold, but imports only its own locations.
        Registry(_parent.name, parent=_parent, scope='mmcell', locations=_parent._locations)
