"""scores of single images keep the value of each

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('scores', sa.Column('images', sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column('scores', 'images')
