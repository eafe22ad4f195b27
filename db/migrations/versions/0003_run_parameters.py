"""what a run was asked to do, so that it can be asked again

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('runs', sa.Column('parameters', sa.JSON(), nullable=False, server_default='{}'))


def downgrade() -> None:
    op.drop_column('runs', 'parameters')
