"""how a cost is known, and how a contestant is run

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('generations', sa.Column('cost_source', sa.String(length=64), nullable=True))
    op.add_column('contestants', sa.Column('running', sa.JSON(), nullable=False, server_default='{}'))


def downgrade() -> None:
    op.drop_column('contestants', 'running')
    op.drop_column('generations', 'cost_source')
