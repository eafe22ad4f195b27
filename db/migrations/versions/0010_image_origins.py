"""what images say of where they are from

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('image_origins',
    sa.Column('sha256', sa.String(length=64), nullable=False),
    sa.Column('state', sa.String(length=16), nullable=True),
    sa.Column('generator', sa.String(length=128), nullable=True),
    sa.Column('signed_by', sa.String(length=128), nullable=True),
    sa.Column('mark', sa.String(length=128), nullable=True),
    sa.PrimaryKeyConstraint('sha256', name=op.f('pk_image_origins'))
    )


def downgrade() -> None:
    op.drop_table('image_origins')
