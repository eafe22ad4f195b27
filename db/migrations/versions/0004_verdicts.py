"""judges, their verdicts, and the battles these were for

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

from db import triggers
from db.schema import UtcDateTime

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


def upgrade() -> None:
    op.create_table('judges',
    sa.Column('id', sa.String(length=128), nullable=False),
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('fingerprint', sa.String(length=64), nullable=False),
    sa.Column('settings', sa.JSON(), nullable=False),
    sa.Column('at', UtcDateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['id'], ['voters.id'], name=op.f('fk_judges_id_voters')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_judges'))
    )
    op.create_table('verdicts',
    sa.Column('id', ID, nullable=False),
    sa.Column('judge_id', sa.String(length=128), nullable=False),
    sa.Column('prompt_id', ID, nullable=False),
    sa.Column('left_sha256', sa.String(length=64), nullable=False),
    sa.Column('right_sha256', sa.String(length=64), nullable=False),
    sa.Column('attempt', sa.SmallInteger(), nullable=False),
    sa.Column('question_sha256', sa.String(length=64), nullable=False),
    sa.Column('answers', sa.JSON(), nullable=False),
    sa.Column('outcome', sa.Enum('left', 'right', 'tie', 'both_bad', name='outcome', native_enum=False, length=16, create_constraint=True), nullable=True),
    sa.Column('consistent', sa.Boolean(), nullable=True),
    sa.Column('unscored', sa.Text(), nullable=True),
    sa.Column('seconds', sa.Float(precision=53), nullable=True),
    sa.Column('cost_usd', sa.Float(precision=53), nullable=True),
    sa.Column('run_id', ID, nullable=True),
    sa.Column('at', UtcDateTime(timezone=True), nullable=False),
    sa.CheckConstraint('(outcome IS NULL) <> (unscored IS NULL)', name=op.f('ck_verdicts_outcome_or_unscored')),
    sa.CheckConstraint('left_sha256 <= right_sha256', name=op.f('ck_verdicts_ordered')),
    sa.ForeignKeyConstraint(['judge_id'], ['judges.id'], name=op.f('fk_verdicts_judge_id_judges')),
    sa.ForeignKeyConstraint(['prompt_id'], ['prompts.id'], name=op.f('fk_verdicts_prompt_id_prompts')),
    sa.ForeignKeyConstraint(['run_id'], ['runs.id'], name=op.f('fk_verdicts_run_id_runs')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_verdicts')),
    sa.UniqueConstraint('judge_id', 'prompt_id', 'left_sha256', 'right_sha256', 'attempt', name=op.f('uq_verdicts_judge_id_prompt_id_left_sha256_right_sha256_attempt'))
    )
    op.create_index(op.f('ix_verdicts_run_id'), 'verdicts', ['run_id'])
    op.create_table('verdict_battles',
    sa.Column('verdict_id', ID, nullable=False),
    sa.Column('battle_id', ID, nullable=False),
    sa.ForeignKeyConstraint(['verdict_id'], ['verdicts.id'], name=op.f('fk_verdict_battles_verdict_id_verdicts')),
    sa.ForeignKeyConstraint(['battle_id'], ['battles.id'], name=op.f('fk_verdict_battles_battle_id_battles')),
    sa.PrimaryKeyConstraint('verdict_id', 'battle_id', name=op.f('pk_verdict_battles'))
    )
    op.create_index(op.f('ix_verdict_battles_battle_id'), 'verdict_battles', ['battle_id'])
    op.create_table('verdict_claims',
    sa.Column('judge_id', sa.String(length=128), nullable=False),
    sa.Column('prompt_id', ID, nullable=False),
    sa.Column('left_sha256', sa.String(length=64), nullable=False),
    sa.Column('right_sha256', sa.String(length=64), nullable=False),
    sa.Column('run_id', ID, nullable=False),
    sa.ForeignKeyConstraint(['judge_id'], ['judges.id'], name=op.f('fk_verdict_claims_judge_id_judges')),
    sa.ForeignKeyConstraint(['prompt_id'], ['prompts.id'], name=op.f('fk_verdict_claims_prompt_id_prompts')),
    sa.ForeignKeyConstraint(['run_id'], ['runs.id'], name=op.f('fk_verdict_claims_run_id_runs')),
    sa.PrimaryKeyConstraint('judge_id', 'prompt_id', 'left_sha256', 'right_sha256', name=op.f('pk_verdict_claims'))
    )
    for statement in triggers.guard(op.get_bind().dialect.name, triggers.VERDICTS):
        op.execute(statement)


def downgrade() -> None:
    op.drop_table('verdict_claims')
    op.drop_table('verdict_battles')
    op.drop_table('verdicts')
    op.drop_table('judges')
